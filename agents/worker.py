"""A worker's parts and how they hang together: config log, fold, parking, mailbox, consumer, Master API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import cast

from aiokafka.errors import IllegalStateError
from faust.types import TP

from agents.broker import Broker
from agents.consumer import Consumer, Letters
from agents.outbox import Outbox
from agents.transport.app import App
from agents.transport.consumer import Consumer as KafkaConsumer
from agents.web import Web
from certes.admission import Admission
from certes.clock import Clock
from certes.command import Command
from certes.config import Config, ConfigLog
from certes.event import partition_of
from certes.fold import Fold
from certes.mailbox import Mailbox
from certes.parking import Parking
from certes.payloads import LogReader, Payloads
from certes.records import own_headers
from certes.registry.cache import Registry
from certes.registry.client import RegistryClient
from certes.sender import Guard, Sender
from certes.settings import Settings
from certes.topics import Topic, ensure_topics
from schemas.own import OwnCodec, encode_command
from tables.events import UNFINISHED
from tables.table import Table, changelog_config

#: While the fold is this far behind the log's end, only top priorities start; the backlog waits in Kafka, in order.
BEHIND_MS = 50
TOP_PRIORITY = 8
DRAIN_SECONDS = 10.0
PAGE = 2000
LOOK_SECONDS = 1.0
#: Of a deleted subscription: its deliveries end without a call, so there is no handler to spare.
UNLIMITED = 1000


class Worker:
    """`start` comes before recovery, `drain` before the Kafka consumer stops, `stop` last."""

    def __init__(self, settings: Settings, *, app: App, events: Table, backoffs: Table) -> None:
        self.settings = settings
        self.app = app
        self.events = events
        self.backoffs = backoffs
        self.clock: Clock = app.clock
        self.ready = False
        log = settings.log
        self.config_log = ConfigLog(
            kafka=settings.kafka, topic=log.config_topic, on_fatal=lambda error: app.die(f"configuration: {error}")
        )
        self.registry = Registry(RegistryClient(settings.registry), clock=self.clock)
        self.reader = LogReader(kafka=settings.kafka, topic=log.topic)
        self.payloads = Payloads(reader=self.reader, budget_bytes=settings.worker.payload_bytes)
        self.mailbox = Mailbox(limit=self._limit, changed=lambda: self.letters.deal_soon())  # noqa: PLW0108 - the letters come a line later
        self.letters = Letters(app, mailbox=self.mailbox, clock=self.clock, floor=self._floor)
        self.broker = Broker(mailbox=self.mailbox, payloads=self.payloads, ends=self._end, now_ms=self._now_ms)
        admission = Admission(schemas=self.registry, config=self._config)
        self.broker.parking = Parking(
            admission=admission,
            schemas=self.registry,
            value_of=self.payloads.value,
            resume=self.send_command,
            wait_seconds=settings.schemas.wait_seconds,
            clock=self.clock,
        )
        self.broker.fold = Fold(
            events=events,
            backoffs=backoffs,
            judge=self.broker.parking.judge,
            codec=OwnCodec(),
            cluster_key=settings.cluster_key,
            on_row=self.broker.on_row,
        )
        guard = Guard(settings.delivery.allow_private)
        self.sender = Sender(guard=guard, clock=self.clock, response_bytes=settings.delivery.response_bytes)
        self.outbox = Outbox(self._append_outcomes)
        self.web = Web(self)
        self.consumer = Consumer(
            mailbox=self.mailbox,
            outbox=self.outbox,
            payloads=self.payloads,
            schemas=self.registry,
            sender=self.sender,
            clock=self.clock,
            config=self._config,
            row_of=self._row_of,
            disable=self.web.disable,
        )

    # -- life

    async def start(self) -> None:
        """All that must be there before the first record is folded; the Master API answers from here on."""
        await ensure_topics(
            self.settings.kafka, self.settings.log, more=map(self._changelog, (self.events, self.backoffs))
        )
        await self.config_log.start()
        self.config_log.on_change.append(self._config_changed)
        await self.reader.start()
        await self.sender.start()
        await self.web.start()
        self._looking = asyncio.get_running_loop().create_task(self._look(), name="look")
        self._looking.add_done_callback(self._looked)

    async def drain(self) -> None:
        """Take nothing new, let the calls that run end, and their outcomes reach the log. Bounded in time."""
        self.letters.stop()
        for _ in range(int(DRAIN_SECONDS / 0.02)):
            if not self.mailbox.running and not self.outbox.busy:
                return
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._looking.cancel()
        with suppress(asyncio.CancelledError):
            await self._looking
        await self.web.stop()
        await self.sender.stop()
        await self.reader.stop()
        await self.config_log.stop()
        await self.registry.close()

    def _changelog(self, table: Table) -> Topic:
        """It is made before Faust asks for its partitions: a worker that is assigned the log without it could not fold."""
        log = self.settings.log
        settings = changelog_config(table.retention_seconds)
        return Topic(table.changelog_topic_name, log.partitions, log.replication, settings, initial={})

    # -- partitions

    async def rebuild(self, partitions: Iterable[int]) -> None:
        """After recovery, before the log goes on: put what is not over back into mailbox and parking."""
        self.ready = False
        places = {TP(self.settings.log.topic, partition) for partition in partitions}
        starts = await self._kafka.starts(places)
        for place in sorted(places):
            self.broker.come(place.partition, starts_at=starts[place])
            await self._rebuild(place.partition)
        self.web.membership.owns(self.broker.partitions)
        self.ready = True

    def left(self, partitions: Iterable[int]) -> None:
        """Partitions went to somebody else, or will come back in a moment."""
        self.ready = False
        for partition in partitions:
            self.broker.leave(partition)

    async def _rebuild(self, partition: int) -> None:
        after = b""
        while True:
            rows = await self.events.query(partition, UNFINISHED, (after, PAGE), seconds=60.0)
            self.broker.rebuild([value for _, value in rows])
            if len(rows) < PAGE:
                return
            after = rows[-1][0]
            await asyncio.sleep(0)

    @property
    def _kafka(self) -> KafkaConsumer:
        return cast("KafkaConsumer", self.app.consumer)

    # -- what nothing else tells

    async def _look(self) -> None:
        """Each second: pauses that are over, and logs that end in records which nobody is shown."""
        at_end: dict[int, int] = {}
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name, one in self._config().subscriptions.items():
                if one.spec.paused_until is not None:
                    self.mailbox.refresh(name)
            now_at_end = await self._unread_ends()
            # Twice in a row, so that no record is on its way from the Kafka client to the fold.
            for partition in at_end.items() & now_at_end.items():
                self.broker.passed(*partition)
            at_end = now_at_end

    def _looked(self, looking: asyncio.Task[None]) -> None:
        if not looking.cancelled() and (error := looking.exception()) is not None:
            self.app.die(f"the worker no longer looks after itself: {error!r}")

    async def _unread_ends(self) -> dict[int, int]:
        """Partitions that are behind although all that there is to read has been read: the rest are the markers of
        transactions, or records of aborted ones.
        """
        if not self.ready:
            return {}
        topic = self.settings.log.topic
        in_work = {tp.partition for tp in self._kafka.in_work() if tp.topic == topic}
        ends = {}
        for partition in [partition for partition, left in self.broker.behind().items() if left]:
            try:
                position = await self._kafka.position(TP(topic, partition))
            except IllegalStateError:  # the partition left meanwhile
                continue
            if partition not in in_work and position is not None and position >= (self._end(partition) or 0):
                ends[partition] = position
        return ends

    # -- what the parts ask of each other

    def _config(self) -> Config:
        return self.config_log.config

    def _limit(self, subscription: str) -> int:
        known = self.config_log.config.subscriptions.get(subscription)
        if known is None:
            return UNLIMITED
        return 0 if known.spec.held(self.clock.now()) else known.spec.max_in_flight

    def _floor(self) -> int:
        return TOP_PRIORITY if self.broker.lag_ms() > BEHIND_MS else 0

    def _end(self, partition: int) -> int | None:
        return self._kafka.log_end(TP(self.settings.log.topic, partition))

    async def last(self, partition: int) -> int:
        """The offset of the last record that is there to be folded, asked of Kafka now."""
        place = TP(self.settings.log.topic, partition)
        return (await self._kafka.highwaters(place))[place] - 1

    def _row_of(self, partition: int, identifier: str) -> bytes | None:
        if partition not in self.events.store.partitions:
            return None
        return self.events.read_row(partition, identifier.encode())

    def _now_ms(self) -> int:
        return round(self.clock.now() * 1000)

    def _config_changed(self, keys: frozenset[str]) -> None:
        for key in keys:
            kind, _, name = key.partition("/")
            if kind == "subscription":
                self.mailbox.refresh(name)

    async def send_command(self, command: Command) -> int:
        """Append a command to its event's partition. The record's offset."""
        value = encode_command(command)
        headers = own_headers("command", value, cluster_key=self.settings.cluster_key)
        return await self._append(partition_of(command.event), command.event.encode(), value, headers)

    async def _append_outcomes(self, partition: int, value: bytes) -> int:
        headers = own_headers("outcomes", value, cluster_key=self.settings.cluster_key)
        return await self._append(partition, None, value, headers)

    async def _append(self, partition: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]) -> int:
        topic = self.settings.log.topic
        done = await self.app.producer.send_and_wait(topic, key, value, partition, None, headers)
        return int(done.offset)
