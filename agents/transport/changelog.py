"""Rows on their way to the changelog: ready-made record batches, in order per partition, and a flush that waits.

Offsets are committed only after `flush`. A row that cannot be sent ends the process, before any commit that stands on
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from aiokafka.structs import RecordMetadata
from faust.types import TP

from agents.transport.end import Die
from certes.errors import TooLarge
from tables.host import Acked

Row = tuple[bytes, bytes | None]

LINGER_SECONDS = 0.005
ROW_OVERHEAD = 128  # batch header and varints: more than Kafka's format ever needs for one row


class BatchProducer(Protocol):
    """The part of aiokafka's producer that is used here."""

    def create_batch(self) -> Any: ...

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]: ...


class Lane:
    """The rows of one changelog partition: so many were added, so many of them are acknowledged."""

    def __init__(self, writer: ChangelogWriter, tp: TP, acked: Acked) -> None:
        self.tp = tp
        self.acked = acked
        self.rows: list[Row] = []
        self.added = 0
        self.settled = 0
        self.sender: asyncio.Task[None] | None = None
        self._writer = writer

    def add(self, key: bytes, value: bytes | None) -> None:
        """Queue a row. Raises TooLarge before it is queued."""
        size = len(key) + len(value or b"")
        if size > self._writer.row_bytes:
            raise TooLarge(f"a row for {self.tp.topic} has {size} bytes, at most {self._writer.row_bytes} can be sent")
        self.rows.append((key, value))
        self.added += 1
        if self.sender is None:
            self.sender = asyncio.create_task(self._writer.send(self))

    def take(self) -> list[Row]:
        rows, self.rows = self.rows, []
        return rows


class ChangelogWriter:
    """`batch_bytes` is what one record batch holds, hence the limit of a row."""

    def __init__(
        self, producer: BatchProducer, *, batch_bytes: int, die: Die, linger_seconds: float = LINGER_SECONDS
    ) -> None:
        self.row_bytes = batch_bytes - ROW_OVERHEAD
        self._producer = producer
        self._die = die
        self._linger_seconds = linger_seconds
        self._lanes: list[Lane] = []
        self._progress = asyncio.Event()
        self._flushing = 0

    def lane(self, tp: TP, acked: Acked) -> Lane:
        """The way into one changelog partition; there must be only one for it."""
        self._lanes.append(Lane(self, tp, acked))
        return self._lanes[-1]

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged every row that was added before, however long that takes, and for none
        that is added meanwhile: there may always be one.
        """
        wanted = [(lane, lane.added) for lane in self._lanes]
        self._flushing += 1
        try:
            while any(lane.settled < added for lane, added in wanted):
                self._progress.clear()
                await self._progress.wait()
        finally:
            self._flushing -= 1

    async def send(self, lane: Lane) -> None:
        """Send what the lane holds and what is added meanwhile, batch after batch."""
        try:
            if not self._flushing:
                await asyncio.sleep(self._linger_seconds)
            while rows := lane.take():
                for count, batch in self._batches(rows):
                    await self._send_batch(lane, batch, count)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rows are not in the changelog
            self._die(f"rows could not be sent to {lane.tp.topic}/{lane.tp.partition}: {exc!r}")
        finally:
            lane.sender = None

    def _batches(self, rows: Sequence[Row]) -> Iterator[tuple[int, Any]]:
        start = 0
        while start < len(rows):
            batch, end = self._producer.create_batch(), start
            while end < len(rows):
                key, value = rows[end]
                if batch.append(timestamp=None, key=key, value=value) is None:
                    break
                end += 1
            if end == start:
                raise TooLarge(f"a row of {len(rows[start][1] or b'')} bytes fits no batch")
            batch.close()
            yield end - start, batch
            start = end

    async def _send_batch(self, lane: Lane, batch: Any, count: int) -> None:
        future = await self._producer.send_batch(batch, lane.tp.topic, partition=lane.tp.partition)
        future.add_done_callback(lambda done: self._settle(lane, count, done))

    def _settle(self, lane: Lane, count: int, done: asyncio.Future[RecordMetadata]) -> None:
        if done.cancelled() or (error := done.exception()):
            reason = "cancelled" if done.cancelled() else repr(error)
            self._die(f"Kafka did not take rows of {lane.tp.topic}/{lane.tp.partition}: {reason}")
        lane.settled += count
        lane.acked(lane.tp, done.result().offset + count - 1)
        self._progress.set()
