"""Records as aiokafka hands them over."""

from __future__ import annotations

from aiokafka.structs import ConsumerRecord


def record(offset: int) -> ConsumerRecord:
    return ConsumerRecord("log", 3, offset, 1_700_000_000_000 + offset, 1, b"k", b"v", None, 1, 1, ())
