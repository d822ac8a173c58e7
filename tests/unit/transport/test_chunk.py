from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faust.types import TP

from agents.transport.chunk import RECORDS, Chunk, chunks, cut
from tests.apps.records import record

LOG = TP("log", 3)


class FakeConsumer:
    def __init__(self) -> None:
        self.acked: list[int] = []

    def ack(self, message: Chunk) -> bool:
        message.acked = True
        self.acked.append(message.offset)
        return True


class FakeEvent:
    def __init__(self, message: Chunk, consumer: FakeConsumer) -> None:
        self.message, self.consumer = message, consumer

    def ack(self) -> bool:
        return self.message.ack(self.consumer)  # type: ignore[arg-type]


class FakeStream:
    """Hands out chunks as Faust does: tracked, with one reference."""

    enable_acks = True

    def __init__(self, *offsets: int) -> None:
        self.consumer = FakeConsumer()
        self.handed_out = [next(cut(LOG, [record(offset)], 1)) for offset in offsets]

    async def events(self) -> AsyncIterator[FakeEvent]:
        for chunk in self.handed_out:
            chunk.refcount, chunk.tracked = 1, True
            yield FakeEvent(chunk, self.consumer)


def test_a_fetch_is_cut_into_chunks_in_order() -> None:
    fetched = [record(offset) for offset in range(RECORDS * 2 + 1)]
    made = list(cut(LOG, fetched, 7))
    assert [len(chunk.records) for chunk in made] == [RECORDS, RECORDS, 1]
    assert [r for chunk in made for r in chunk.records] == fetched
    assert [chunk.offset for chunk in made] == [RECORDS - 1, 2 * RECORDS - 1, 2 * RECORDS]
    assert {(chunk.tp, chunk.generation_id) for chunk in made} == {(LOG, 7)}
    assert made[0].timestamp == (1_700_000_000_000 + RECORDS - 1) / 1000


async def test_a_chunk_is_acknowledged_when_the_next_is_asked_for() -> None:
    stream: Any = FakeStream(1, 2, 3)
    seen = [(chunk.offset, list(stream.consumer.acked)) async for chunk in chunks(stream)]
    assert seen == [(1, []), (2, [1]), (3, [1, 2])]
    assert stream.consumer.acked == [1, 2, 3]
    assert not stream.enable_acks


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_body_that_did_not_finish_acknowledges_nothing(error: type[BaseException]) -> None:
    stream: Any = FakeStream(1, 2)
    reading = chunks(stream)
    with pytest.raises(error):
        await body(reading, error)
    await reading.aclose()  # type: ignore[attr-defined] # what the event loop does to a generator left behind
    assert stream.consumer.acked == [1]


async def body(reading: AsyncIterator[Chunk], error: type[BaseException]) -> None:
    async for chunk in reading:
        if chunk.offset == 2:
            raise error


def test_a_skipped_event_is_not_acknowledged() -> None:
    """Faust's Python stream acks stale events; they are not tracked."""
    consumer: Any = FakeConsumer()
    chunk = next(cut(LOG, [record(1)], 1))
    chunk.refcount = 1
    assert not chunk.ack(consumer)
    assert not chunk.acked
    assert consumer.acked == []
