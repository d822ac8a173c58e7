"""Confluent's wire format: which schema a Kafka record's value was written with."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from certes.errors import Malformed, Unsupported

#: Where newer Confluent serializers may put the id instead of in front of the value.
HEADER = "__value_schema_id"

_PREFIX = struct.Struct(">BI")
_BY_ID = 0
_BY_GUID = 1


class Framed(NamedTuple):
    """A value taken apart: the id of the writer's schema, and Avro binary without framing."""

    schema_id: int
    body: bytes


def frame(schema_id: int, body: bytes) -> bytes:
    """Put the schema's id in front of Avro binary."""
    return _PREFIX.pack(_BY_ID, schema_id) + body


def unframe(value: bytes, headers: Iterable[tuple[str, bytes | None]] = ()) -> Framed:
    """Take a record's value apart; an id in the headers stands above one in the value.

    Raises Malformed for what is no framing at all, Unsupported for framing by GUID.
    """
    for name, prefix in headers:
        if name == HEADER and prefix is not None:
            return Framed(_schema_id(prefix), value)
    return Framed(_schema_id(value), value[_PREFIX.size :])


def _schema_id(prefix: bytes) -> int:
    if not prefix:
        raise Malformed("the value is empty: Confluent framing begins with a 0 byte and a schema id")
    if prefix[0] == _BY_GUID:
        raise Unsupported(
            "the schema is named by GUID (magic byte 1), which Certes does not read yet: "
            "let the producer's serializer write schema ids (magic byte 0)"
        )
    if prefix[0] != _BY_ID:
        raise Malformed(f"the value begins with byte {prefix[0]}, which is no Confluent framing (magic byte 0)")
    if len(prefix) < _PREFIX.size:
        raise Malformed(f"Confluent framing has {_PREFIX.size} bytes, here are only {len(prefix)}")
    schema_id: int = _PREFIX.unpack_from(prefix)[1]
    return schema_id
