"""Reading what has just been written: a GET waits until the fold has come to a place in the log."""

from __future__ import annotations

import asyncio
import re

from certes.api.ports import Tables
from certes.errors import Malformed, NotYet

WAIT_SECONDS = 5.0
#: The fold passes thousands of places a second; looking beats waking each of those who wait.
_LOOK_SECONDS = 0.01
_PLACE = re.compile(r"([0-9]{1,5})/([0-9]{1,18})\Z", re.ASCII)


def place(text: str) -> tuple[int, int]:
    """`partition/offset`, as in the header `certes-position`. Raises Malformed."""
    match = _PLACE.match(text)
    if match is None:
        raise Malformed("after must be partition/offset, as in the header certes-position of the answer to a command")
    return int(match[1]), int(match[2])


async def wait_until_folded(tables: Tables, partition: int, offset: int) -> None:
    """Raises NotYet when the fold has not come there within five seconds."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while tables.folded(partition) < offset:  # noqa: ASYNC110 - see _LOOK_SECONDS
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise NotYet(
            f"record {offset} of partition {partition} is not folded yet (at {tables.folded(partition)}); ask again"
        ) from None
