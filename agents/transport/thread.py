"""The thread in which aiokafka consumes: committed records only, and every heartbeat renews the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.transport.lease import Lease
from certes.clock import Clock

FETCH_WAIT_MS = 250  # a seek waits for the fetch under way; Faust's 1500 are a pause after each rebalance
FETCH_RECORDS = 1000  # handed over at once, of all partitions


class ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        """Faust reads uncommitted records unless it produces transactions itself."""
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - set before start(), where it is read
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - as above
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        app = cast("Any", self.app)
        renew_by_heartbeats(self._ensure_consumer()._coordinator, lease=app.lease, clock=app.clock)  # noqa: SLF001

    async def fetch(self, tps: set[TP], seconds: float) -> tuple[int, RecordMap]:
        """Records of these partitions and the generation they were fetched in; empty after `seconds` without any."""
        fetched: tuple[int, RecordMap] = await self.call_thread(self._fetch, tps, seconds)
        return fetched

    async def _fetch(self, tps: set[TP], seconds: float) -> tuple[int, RecordMap]:
        """A fetch that waits while a rebalance passes may return records of the next generation, after everything was
        put to where it belongs: they are put back, for who asked for them is gone.
        """
        consumer, generation = self._ensure_consumer(), self.app.consumer_generation_id
        records = await self._fetch_records(consumer, tps, timeout=seconds, max_records=FETCH_RECORDS)
        if generation == self.app.consumer_generation_id:
            return generation, records
        for tp in records.keys() & consumer.assignment():
            consumer.seek(tp, records[tp][0].offset)
        return generation, {}

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        """What the group has committed, None where it never has."""
        found: Mapping[TP, int | None] = await self.call_thread(self._committed, list(tps))
        return found

    async def _committed(self, tps: list[TP]) -> Mapping[TP, int | None]:
        ask = self._ensure_consumer().committed
        return dict(zip(tps, await asyncio.gather(*(ask(TopicPartition(*tp)) for tp in tps)), strict=True))


def renew_by_heartbeats(coordinator: Any, *, lease: Lease, clock: Clock) -> None:
    """The lease counts from before a heartbeat was sent: Kafka's session time-out begins no earlier."""
    beat = coordinator._do_heartbeat  # noqa: SLF001 - aiokafka tells nobody about its heartbeats

    async def beat_and_renew() -> bool:
        sent_at = clock.monotonic()
        answered: bool = await beat()
        if answered:
            lease.renew(sent_at)
        return answered

    coordinator._do_heartbeat = beat_and_renew  # noqa: SLF001 - this one instance, not the class
