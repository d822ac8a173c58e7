"""The writer of the configuration and its readers, over a real config log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from certes.clock import Clock
from certes.config import Config, ConfigLog, Entry, Member
from certes.config_writer import ConfigProducer, ConfigWriter, Precondition
from certes.errors import PreconditionFailed, Unavailable
from certes.internal import internal_routes
from certes.settings import Log
from certes.topics import ensure_topics

pytestmark = pytest.mark.kafka

KEY = b"k" * 32
WRITES = 100


@dataclass
class Process:
    """What a worker or gateway has of the configuration: its reader, the writer, and the internal routes."""

    log: ConfigLog
    writer: ConfigWriter

    @property
    def config(self) -> Config:
        return self.log.config


class Cluster:
    """Processes on one config log; `join` starts another."""

    def __init__(self, kafka: str, topic: str, stack: AsyncExitStack) -> None:
        self._kafka = kafka
        self._topic = topic
        self._stack = stack

    async def join(self, name: str, *, partitions: tuple[int, ...] = ()) -> Process:
        log = await self.reader()
        producer = ConfigProducer(kafka=self._kafka, topic=self._topic)
        await producer.start()
        self._stack.push_async_callback(producer.stop)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        writer = ConfigWriter(
            log=log, append=producer.append, session=session, cluster_key=KEY, member_id=name, clock=Clock()
        )
        app = web.Application()
        app.router.add_routes(internal_routes(log, KEY, None))
        server = await self._stack.enter_async_context(TestServer(app))
        url = str(server.make_url("")).rstrip("/")
        await writer.announce(Member(id=name, role="worker", url=url, partitions=partitions))
        return Process(log, writer)

    async def reader(self) -> ConfigLog:
        log = ConfigLog(kafka=self._kafka, topic=self._topic, on_fatal=print)
        await log.start()
        self._stack.push_async_callback(log.stop)
        return log


@pytest.fixture
async def cluster(kafka: str) -> AsyncIterator[Cluster]:
    topic = f"test.{uuid4().hex}"
    await ensure_topics(kafka, Log(topic=f"{topic}.events", config_topic=f"{topic}.config", partitions=1))
    async with AsyncExitStack() as stack:
        yield Cluster(kafka, f"{topic}.config", stack)


async def test_every_write_is_read_by_all_when_it_is_answered(cluster: Cluster) -> None:
    writer, other = await cluster.join("w1", partitions=(0,)), await cluster.join("w2")
    await writer.log.reached(other.config.offset, seconds=5)
    for number in range(WRITES):
        written = await writer.writer.change("priority", "event/a.dev/x/1/y", lambda _, n=number: {"priority": n % 10})
        assert written.unread == ()
        assert other.config.priorities == {"event/a.dev/x/1/y": number % 10}


async def test_writes_at_the_same_time_follow_one_another(cluster: Cluster) -> None:
    writer = await cluster.join("w1", partitions=(0,))

    def more(entry: Entry | None) -> dict[str, int]:
        return {"priority": 0 if entry is None else entry.value["priority"] + 1}

    await asyncio.gather(*(writer.writer.change("priority", "global", more) for _ in range(10)))
    assert writer.config.priorities == {"global": 9}


async def test_who_has_stopped_reading_is_named(cluster: Cluster) -> None:
    writer, other = await cluster.join("w1", partitions=(0,)), await cluster.join("w2")
    await writer.log.reached(other.config.offset, seconds=5)
    await other.log.stop()
    written = await writer.writer.change("priority", "global", lambda _: {"priority": 9})
    assert written.unread == ("w2",)
    await other.log.start()
    assert other.config.priorities == {"global": 9}


async def test_what_was_deleted_stays_deleted(cluster: Cluster) -> None:
    writer = await cluster.join("w1", partitions=(0,))
    await writer.writer.change("priority", "source/a", lambda _: {"priority": 1})
    await writer.writer.change("priority", "global", lambda _: {"priority": 2})
    await writer.writer.change("priority", "source/a", lambda _: None)
    fresh = await cluster.reader()
    assert fresh.config.priorities == {"global": 2}
    assert fresh.config.entry("priority", "global") == writer.config.entry("priority", "global")


async def test_a_change_upon_something_older_is_refused(cluster: Cluster) -> None:
    writer = await cluster.join("w1", partitions=(0,))
    first = (await writer.writer.change("priority", "global", lambda _: {"priority": 1})).entry
    assert first is not None
    await writer.writer.change("priority", "global", lambda _: {"priority": 2})
    with pytest.raises(PreconditionFailed):
        await writer.writer.change(
            "priority", "global", lambda _: {"priority": 3}, expect=Precondition(frozenset({first.etag}))
        )
    assert writer.config.priorities == {"global": 2}


async def test_who_leaves_takes_the_writing_with_it(cluster: Cluster) -> None:
    writer, other = await cluster.join("w1", partitions=(0,)), await cluster.join("w2")
    await writer.writer.withdraw("w1")
    with pytest.raises(Unavailable, match="another worker"):
        await writer.writer.change("priority", "global", lambda _: {"priority": 1})
    await other.writer.announce(Member(id="w2", role="worker", url="http://127.0.0.1:1", partitions=(0,)))
    await other.writer.change("priority", "global", lambda _: {"priority": 1})


async def test_without_kafka() -> None:
    producer = ConfigProducer(kafka=f"127.0.0.1:{unused_port()}", topic="config")
    with pytest.raises(Unavailable):
        await producer.start()
    with pytest.raises(Unavailable):
        await producer.append("priority/global", None)
