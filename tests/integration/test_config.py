from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from certes.config import ConfigLog, encode
from certes.config_writer import ConfigProducer
from certes.errors import Fatal, Unavailable
from certes.settings import Log
from certes.topics import ensure_topics

pytestmark = pytest.mark.kafka

ENTRIES = 1000


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"test.{uuid4().hex}"
    await ensure_topics(kafka, Log(topic=f"{name}.events", config_topic=f"{name}.config", partitions=1))
    return f"{name}.config"


@pytest.fixture
async def write(kafka: str, topic: str) -> AsyncIterator[ConfigProducer]:
    producer = ConfigProducer(kafka=kafka, topic=topic)
    await producer.start()
    yield producer
    await producer.stop()


@pytest.fixture
async def full(kafka: str, topic: str) -> str:
    """The topic with `ENTRIES` priorities, written in batches."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5) as producer:
        sent = [
            await producer.send(topic, encode({"priority": number % 10}), key=f"priority/source/s{number}".encode())
            for number in range(ENTRIES)
        ]
        await asyncio.gather(*sent)
    return topic


@asynccontextmanager
async def reading(
    kafka: str, topic: str, on_fatal: Callable[[BaseException], None] = print
) -> AsyncIterator[ConfigLog]:
    log = ConfigLog(kafka=kafka, topic=topic, on_fatal=on_fatal)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def test_it_is_read_to_its_end_before_start_returns(kafka: str, full: str) -> None:
    async with reading(kafka, full) as log:
        assert log.config.offset == ENTRIES - 1
        assert log.config.priorities == {f"source/s{number}": number % 10 for number in range(ENTRIES)}


async def test_an_empty_log_has_an_end_too(kafka: str, topic: str) -> None:
    async with reading(kafka, topic) as log:
        assert log.config.offset == -1
        assert not await log.reached(0, seconds=0.1)


async def test_what_is_written_is_heard_of_and_waited_for(kafka: str, topic: str, write: ConfigProducer) -> None:
    async with reading(kafka, topic) as log:
        heard: list[frozenset[str]] = []
        log.on_change.append(heard.append)
        for number in range(20):
            offset = await write.append("priority/global", encode({"priority": number % 10}))
            assert await log.reached(offset, seconds=5)
            assert log.config.priorities == {"global": number % 10}
        offset = await write.append("priority/global", None)
        assert await log.reached(offset, seconds=5)
        assert log.config.priorities == {}
        assert set().union(*heard) == {"priority/global"}


async def test_stopped_and_started_it_reads_what_came_meanwhile(kafka: str, full: str, write: ConfigProducer) -> None:
    log = ConfigLog(kafka=kafka, topic=full, on_fatal=print)
    await log.start()
    await log.stop()
    await write.append("priority/source/s0", None)
    offset = await write.append("priority/global", encode({"priority": 9}))
    await log.start()
    assert log.config.offset == offset
    assert (len(log.config.priorities), log.config.priorities["global"]) == (ENTRIES, 9)
    await log.stop()


async def test_an_unreadable_entry_is_fatal_at_the_start_and_later(
    kafka: str, topic: str, write: ConfigProducer
) -> None:
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    async with reading(kafka, topic, told.set_result) as log:
        await write.append("newer/entry", encode({}))
        assert isinstance(await asyncio.wait_for(told, 5), Fatal)
        assert log.config.offset == -1
    with pytest.raises(Fatal, match="'newer/entry' of a kind this Certes does not know"):
        await ConfigLog(kafka=kafka, topic=topic, on_fatal=print).start()


async def test_without_kafka_it_is_unavailable_and_says_which(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    with pytest.raises(Unavailable, match=f"the config log at Kafka {address} cannot be read"):
        await ConfigLog(kafka=address, topic="certes.config", on_fatal=print).start()
