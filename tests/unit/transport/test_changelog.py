from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition
from faust.types import TP

from agents.transport.changelog import ROW_OVERHEAD, ChangelogWriter
from certes.errors import TooLarge
from tests.apps.ended import Deaths

ONE, TWO = TP("changelog", 1), TP("changelog", 2)


class FakeProducer:
    """Takes batches; acknowledges them when told to."""

    def __init__(self, batch_bytes: int = 1 << 20) -> None:
        self.batch_bytes = batch_bytes
        self.sent: list[tuple[int, int]] = []
        self.waiting: list[tuple[asyncio.Future[RecordMetadata], TP, int]] = []
        self.ends: dict[TP, int] = {}
        self.refuse: Exception | None = None

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.batch_bytes, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        if self.refuse:
            raise self.refuse
        assert batch.closed()
        tp, count = TP(topic, partition), batch.record_count()
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        base = self.ends.get(tp, 0)
        self.ends[tp] = base + count
        self.sent.append((partition, count))
        self.waiting.append((future, tp, base))
        return future

    def acknowledge(self) -> None:
        for future, tp, base in self.waiting:
            future.set_result(RecordMetadata(tp.topic, tp.partition, TopicPartition(*tp), base, 0, 0, 0))
        self.waiting.clear()


class Bench:
    def __init__(self, **kwargs: Any) -> None:
        self.kafka = FakeProducer(**kwargs)
        self.deaths = Deaths()
        self.acked: list[tuple[TP, int]] = []
        self.writer = ChangelogWriter(
            self.kafka, batch_bytes=self.kafka.batch_bytes, die=self.deaths, linger_seconds=0.001
        )

    def lane(self, tp: TP = ONE) -> Any:
        return self.writer.lane(tp, lambda tp, offset: self.acked.append((tp, offset)))


async def until(true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("did not come true")


async def test_rows_go_out_in_one_batch_and_their_last_offset_comes_back() -> None:
    bench = Bench()
    lane = bench.lane()
    for n in range(50):
        lane.add(b"%d" % n, b"row")
    await until(lambda: bench.kafka.waiting)
    assert bench.kafka.sent == [(1, 50)]
    assert bench.acked == []
    bench.kafka.acknowledge()
    await bench.writer.flush()
    assert bench.acked == [(ONE, 49)]


async def test_flush_waits_for_as_long_as_it_takes() -> None:
    """Faust's gives up after 0.1 s without progress."""
    bench = Bench()
    bench.lane().add(b"key", b"row")
    flushing = asyncio.create_task(bench.writer.flush())
    await asyncio.sleep(0.3)
    assert not flushing.done()
    bench.kafka.acknowledge()
    await asyncio.wait_for(flushing, 1)
    assert bench.acked == [(ONE, 0)]


async def test_flush_covers_every_lane() -> None:
    bench = Bench()
    bench.lane(ONE).add(b"a", b"1")
    bench.lane(TWO).add(b"b", None)
    flushing = asyncio.create_task(bench.writer.flush())
    await until(lambda: len(bench.kafka.waiting) == 2)
    bench.kafka.waiting.pop(0)[0].set_result(RecordMetadata("changelog", 1, None, 0, 0, 0, 0))
    await asyncio.sleep(0.01)
    assert not flushing.done()
    bench.kafka.acknowledge()
    await asyncio.wait_for(flushing, 1)


async def test_flush_ends_though_rows_never_cease() -> None:
    """Each commit waits for it: under load there is always a row on its way."""
    bench = Bench()
    lane = bench.lane()
    flushes = []

    async def load() -> None:
        while True:
            lane.add(b"key", b"row")
            await asyncio.sleep(0)
            bench.kafka.acknowledge()
            lane.add(b"key", b"row")

    loading = asyncio.create_task(load())
    for _ in range(3):
        await asyncio.wait_for(bench.writer.flush(), 1)
        flushes.append(lane.settled)
    loading.cancel()
    assert sorted(set(flushes)) == flushes


async def test_batches_of_a_partition_keep_the_order_of_its_rows() -> None:
    bench = Bench(batch_bytes=1000)
    lane = bench.lane()
    for n in range(100):
        lane.add(b"%d" % n, b"x" * 50)
    await until(lambda: sum(count for _, count in bench.kafka.sent) == 100)
    assert len(bench.kafka.sent) > 3
    bench.kafka.acknowledge()
    await bench.writer.flush()
    assert [offset for _, offset in bench.acked] == sorted(offset for _, offset in bench.acked)
    assert bench.acked[-1] == (ONE, 99)


async def test_a_row_that_fits_no_batch_is_refused_before_it_is_queued() -> None:
    bench = Bench(batch_bytes=1000)
    lane = bench.lane()
    with pytest.raises(TooLarge, match="1001 bytes"):
        lane.add(b"k", b"x" * 1000)
    await bench.writer.flush()
    assert bench.kafka.sent == []


async def test_the_largest_row_allowed_fits_a_batch() -> None:
    bench = Bench(batch_bytes=1000)
    bench.lane().add(b"k", b"x" * (1000 - ROW_OVERHEAD - 1))
    await until(lambda: bench.kafka.sent)
    bench.kafka.acknowledge()
    assert bench.deaths.reasons == []


async def test_a_failed_batch_ends_the_process(event_loop_errors: list[dict[str, Any]]) -> None:
    bench = Bench()
    bench.lane().add(b"key", b"row")
    await until(lambda: bench.kafka.waiting)
    bench.kafka.waiting[0][0].set_exception(RuntimeError("no leader"))
    await until(lambda: bench.deaths.reasons)
    assert "changelog/1" in bench.deaths.reasons[0]
    assert "no leader" in bench.deaths.reasons[0]
    assert bench.acked == []


async def test_a_batch_that_cannot_be_queued_ends_the_process() -> None:
    bench = Bench()
    bench.kafka.refuse = RuntimeError("closed")
    lane = bench.lane()
    lane.add(b"key", b"row")
    sender = lane.sender
    await until(lambda: bench.deaths.reasons)
    assert "closed" in bench.deaths.reasons[0]
    assert sender.exception() is not None


@pytest.fixture
async def event_loop_errors() -> list[dict[str, Any]]:
    """What callbacks of the loop raised: here the stand-in for the end of the process."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    return errors
