from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from certes import log
from certes.errors import TooLarge, Unavailable
from certes.log import EventLog, partition_for


@given(st.binary(max_size=70), st.integers(1, 500))
def test_partitions_are_those_of_kafkas_own_producers(key: bytes, partitions: int) -> None:
    assert partition_for(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


class Producer:
    """A producer that does what it is told; keeps how it was made and whether it was ended."""

    made: list[Producer]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.stopped = False
        self.outcome: Callable[[], Any] = lambda: SimpleNamespace(partition=3, offset=42)
        self.made.append(self)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, *_args: Any, **_options: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer = self.outcome()
        if answer is not None:
            future.set_result(answer)
        return future


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    made: list[Producer] = []
    monkeypatch.setattr(log, "AIOKafkaProducer", type("Fake", (Producer,), {"made": made}))
    return made


async def append(events: EventLog) -> tuple[int, int]:
    return await events.append(value=b"v", key=b"k", partition=3)


def failing(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


async def test_an_append_answers_where_the_record_is(producers: list[Producer]) -> None:
    events = EventLog(kafka="k", topic="t")
    with pytest.raises(Unavailable):
        await append(events)
    await events.start()
    assert await append(events) == (3, 42)
    assert producers[0].options["enable_idempotence"] is True
    assert producers[0].options["acks"] == "all"
    await events.stop()
    assert producers[0].stopped


async def test_no_acknowledgement_in_time(producers: list[Producer]) -> None:
    events = EventLog(kafka="k", topic="t", ack_seconds=0.02)
    await events.start()
    producers[0].outcome = lambda: None
    with pytest.raises(Unavailable, match="acknowledged"):
        await append(events)
    assert len(producers) == 1, "what is slow may come yet"
    await events.stop()


async def test_a_producer_that_lost_its_sequence_is_replaced(producers: list[Producer]) -> None:
    events = EventLog(kafka="k", topic="t")
    await events.start()
    producers[0].outcome = failing(OutOfOrderSequenceNumber())
    for _ in range(3):
        with pytest.raises(Unavailable):
            await append(events)
    await asyncio.sleep(0.01)
    assert [one.stopped for one in producers] == [True, False]
    assert await append(events) == (3, 42)
    await events.stop()


async def test_a_record_that_is_too_large_is_the_callers_fault(producers: list[Producer]) -> None:
    events = EventLog(kafka="k", topic="t")
    await events.start()
    producers[0].outcome = failing(MessageSizeTooLargeError())
    with pytest.raises(TooLarge):
        await append(events)
    assert len(producers) == 1
    await events.stop()


async def test_kafka_that_is_not_there(producers: list[Producer], monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_self: Producer) -> None:
        raise KafkaConnectionError("nobody")

    monkeypatch.setattr(Producer, "start", refuse)
    events = EventLog(kafka="here:1", topic="t")
    with pytest.raises(Unavailable, match="here:1"):
        await events.start()
    assert producers[0].stopped
    assert not await events.answers()
