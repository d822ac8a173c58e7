"""Payloads by reference. A fresh one stays in memory within a budget; later ones are read back from the log in runs."""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from certes.errors import Gone, Unavailable
from certes.event import EventRow

#: Offsets this close are read in one run: seeking costs a round trip, skipping a record almost nothing.
GAP = 200
FETCH_BYTES = 256 << 10
#: What Python needs to keep a value, besides its bytes.
ENTRY_BYTES = 300


class Cache:
    """Values by place in the log, at most `limit` bytes with what keeping them costs; the oldest leave first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0

    def put(self, partition: int, offset: int, value: bytes) -> None:
        if (partition, offset) in self._values or _cost(value) > self._limit:
            return
        self._values[partition, offset] = value
        self._bytes += _cost(value)
        while self._bytes > self._limit:
            self._bytes -= _cost(self._values.popitem(last=False)[1])

    def get(self, partition: int, offset: int) -> bytes | None:
        return self._values.get((partition, offset))

    def drop(self, partition: int, offset: int) -> None:
        value = self._values.pop((partition, offset), None)
        self._bytes -= _cost(value) if value is not None else 0


def _cost(value: bytes) -> int:
    return len(value) + ENTRY_BYTES


@dataclass(slots=True)
class _Wanted:
    offset: int
    found: asyncio.Future[bytes | None]


class LogReader:
    """Reads single records by partition and offset. Those asked for meanwhile are read together, in order."""

    def __init__(self, *, kafka: str, topic: str, seconds: float = 10.0) -> None:
        self._kafka = kafka
        self._topic = topic
        self._seconds = seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._wanted: dict[int, list[_Wanted]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=100,
            isolation_level="read_uncommitted",
        )
        await self._consumer.start()
        self._task = asyncio.create_task(self._run(self._consumer), name="payload-reader")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()

    async def value(self, partition: int, offset: int) -> bytes | None:
        """The value at a place, None when there is no record any more. Raises Unavailable when Kafka does not answer."""
        wanted = _Wanted(offset, asyncio.get_running_loop().create_future())
        self._wanted.setdefault(partition, []).append(wanted)
        self._wake.set()
        return await wanted.found

    async def _run(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                partition, wanted = self._wanted.popitem()
                for run in runs(sorted(wanted, key=lambda one: one.offset)):
                    await self._answer(consumer, TopicPartition(self._topic, partition), run)

    async def _answer(self, consumer: AIOKafkaConsumer, place: TopicPartition, run: list[_Wanted]) -> None:
        values: dict[int, bytes] = {}
        try:
            async with asyncio.timeout(self._seconds):
                values = await _read_run(consumer, place, run[0].offset, run[-1].offset)
        except OffsetOutOfRangeError:
            pass  # the log begins later or ends earlier: there is no such record
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it, and others be read
            for one in run:
                _resolve(one, Unavailable(f"payloads of partition {place.partition} cannot be read: {error!r}"))
            return
        for one in run:
            _resolve(one, values.get(one.offset))


def _resolve(wanted: _Wanted, result: bytes | Unavailable | None) -> None:
    if wanted.found.done():
        return  # whoever asked has gone
    if isinstance(result, Unavailable):
        wanted.found.set_exception(result)
    else:
        wanted.found.set_result(result)


async def _read_run(consumer: AIOKafkaConsumer, place: TopicPartition, first: int, last: int) -> dict[int, bytes]:
    if consumer.assignment() != {place}:
        consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    end = (await consumer.end_offsets([place]))[place]
    values: dict[int, bytes] = {}
    if last < begin or first >= end:
        return values
    consumer.seek(place, max(first, begin))
    while await consumer.position(place) <= min(last, end - 1):
        for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, ()):
            values[record.offset] = record.value or b""
    return values


def runs(wanted: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
    """Split what is sorted by offset where the gap is too wide to read across."""
    run: list[_Wanted] = []
    for one in wanted:
        if run and one.offset - run[-1].offset > GAP:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


class Payloads:
    """The payloads of rows. `remember` is for the fold, which has them in hand."""

    def __init__(self, *, reader: LogReader, budget_bytes: int) -> None:
        self._reader = reader
        self._cache = Cache(budget_bytes)

    def remember(self, row: EventRow, value: bytes) -> None:
        self._cache.put(row.partition, row.offset, value)

    def drop(self, row: EventRow) -> None:
        self._cache.drop(row.partition, row.offset)

    async def value(self, row: EventRow) -> bytes:
        """The bytes as received. Raises Gone when they are past retention, Unavailable when Kafka does not answer."""
        value = self._cache.get(row.partition, row.offset)
        if value is not None:
            return value
        value = await self._reader.value(row.partition, row.offset)
        if value is None:
            raise Gone(f"the payload of {row.id} is no longer in the log: its retention has passed")
        if zlib.crc32(value) != row.checksum:
            raise Gone(f"the payload of {row.id} is gone: another record lies in its place, the topic was made anew")
        return value
