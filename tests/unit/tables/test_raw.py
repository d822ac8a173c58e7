from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.exceptions import KeyDecodeError

from tables.raw import RawSchema


def message(key: bytes | None, value: bytes | None) -> Any:
    return SimpleNamespace(key=key, value=value, headers=None)


@pytest.mark.parametrize(("key", "value"), [(b"\xff\x00", b"{"), (b"k", None), (None, b"v"), (None, None)])
async def test_bytes_are_handed_on_whatever_they_are(key: bytes | None, value: bytes | None) -> None:
    app = faust.App("app")
    given = message(key, value)
    event = await RawSchema().compile(app)(given)
    assert (event.key, event.value, event.message) == (key, value, given)


async def test_faust_would_decode_the_key() -> None:
    """Why the class exists: `raw` of a plain schema does not reach a table's recovery."""
    with pytest.raises(KeyDecodeError):
        await faust.Schema(key_serializer="json").compile(faust.App("app"))(message(b"\xff\x00", b"v"), propagate=True)
