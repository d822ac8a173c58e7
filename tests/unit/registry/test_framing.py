from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Malformed, Refused, Unsupported
from certes.registry.framing import HEADER, frame, unframe


def test_the_bytes_are_confluents():
    assert frame(258, b"x") == b"\x00\x00\x00\x01\x02x"


@given(st.integers(0, 2**32 - 1), st.binary())
def test_unframe_reverses_frame(schema_id, body):
    assert unframe(frame(schema_id, body)) == (schema_id, body)


@given(st.binary())
def test_any_bytes_are_framing_or_refused(value):
    try:
        framed = unframe(value)
    except Refused:
        return
    assert frame(*framed) == value


def test_an_id_in_the_headers_leaves_the_value_whole():
    headers = [("ce_id", b"1"), (HEADER, frame(7, b""))]
    assert unframe(b"\x00body", headers) == (7, b"\x00body")


@pytest.mark.parametrize("headers", [[], [(HEADER, b"\x01" + uuid.uuid4().bytes)]])
def test_a_guid_is_refused_with_the_way_out(headers):
    with pytest.raises(Unsupported, match="magic byte 0"):
        unframe(b"\x01" + uuid.uuid4().bytes + b"body", headers)


@pytest.mark.parametrize(("value", "reason"), [(b"", "empty"), (b"{}", "byte 123"), (b"\x00\x00", "only 2")])
def test_what_is_no_framing_is_malformed(value, reason):
    with pytest.raises(Malformed, match=reason):
        unframe(value)
