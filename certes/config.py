"""The configuration: what all entries of the config log add up to, and reading that log.

Subscriptions, sources, priorities, back-offs, keys, audit entries and the processes that are alive are entries of one
compacted topic with one partition, key `{kind}/{name}`. Every process reads it to its end before it does anything else,
and follows it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import BaseModel, ValidationError

from certes.backoff import Policy
from certes.errors import Fatal, Unavailable
from certes.routing import Router
from certes.source import Source
from certes.subscription import StoredSubscription

logger = logging.getLogger(__name__)

ENTRY_VERSION = 1
Kind = Literal["subscription", "source", "priority", "backoff", "key", "member", "audit", "config"]


class Member(BaseModel):
    """A live worker or gateway: where it is reached by the others, and the log partitions it owns."""

    id: str
    role: Literal["worker", "gateway"]
    url: str
    partitions: tuple[int, ...] = ()
    since: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as read. `offset` is its place in the config log; `etag` changes whenever its value does."""

    kind: str
    name: str
    value: Any
    offset: int

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(orjson.dumps(self.value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]}"'


@dataclass(slots=True)
class Config:
    """The configuration as of `offset`, the last record read (-1: none). Models are parsed once, when read."""

    offset: int = -1
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in get_args(Kind)})
    subscriptions: dict[str, StoredSubscription] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    priorities: dict[str, int] = field(default_factory=dict)
    backoffs: dict[str, Policy] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    router: Router = field(default_factory=Router)

    def entry(self, kind: Kind, name: str) -> Entry | None:
        return self.entries[kind].get(name)

    def workers(self) -> list[Member]:
        return [one for one in self.members.values() if one.role == "worker"]

    def owner(self, partition: int) -> Member | None:
        """The worker that says it owns a log partition; the one that said so last."""
        claims = [one for one in self.workers() if partition in one.partitions]
        return max(claims, key=lambda one: self.entries["member"][one.id].offset, default=None)

    def schema_rule(self, domain: str) -> Literal["optional", "required"]:
        """Whether own events of a domain need a schema: setting `schemas` of the global configuration."""
        entry = self.entries["config"].get("global")
        schemas = (entry.value.get("schemas") or {}) if entry is not None else {}
        rule = (schemas.get("domains") or {}).get(domain, schemas.get("default", "required"))
        return "optional" if rule == "optional" else "required"

    def apply(self, key: str, value: bytes | None, offset: int) -> None:
        """Read one record. An entry that this version cannot read is Fatal: going on would drop what it says."""
        kind, _, name = key.partition("/")
        if kind not in self.entries:
            raise Fatal(f"the config log has an entry {key!r} of a kind this Certes does not know: upgrade it")
        if value is None:
            self.entries[kind].pop(name, None)
        else:
            self.entries[kind][name] = Entry(kind, name, _value(key, value), offset)
        self._parse(kind, name)
        self.offset = offset

    def _parse(self, kind: str, name: str) -> None:
        if kind not in _PARSERS:
            return
        parsed: dict[str, Any] = getattr(self, _PLURAL[kind])
        entry = self.entries[kind].get(name)
        if entry is None:
            parsed.pop(name, None)
        else:
            parsed[name] = _PARSERS[kind](entry.value)

    def rebuild_router(self) -> None:
        self.router = Router(self.subscriptions.values(), priorities=self.priorities, backoffs=self.backoffs)


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "subscription": StoredSubscription.model_validate,
    "source": Source.model_validate,
    "priority": lambda value: int(value["priority"]),
    "backoff": Policy.model_validate,
    "member": Member.model_validate,
}
_PLURAL = {
    "subscription": "subscriptions",
    "source": "sources",
    "priority": "priorities",
    "backoff": "backoffs",
    "member": "members",
}
_ROUTING: frozenset[str] = frozenset({"subscription", "priority", "backoff"})


def encode(value: Any) -> bytes:
    """The value of an entry's record."""
    return orjson.dumps({"v": ENTRY_VERSION, "value": value})


def _value(key: str, raw: bytes) -> Any:
    try:
        document = orjson.loads(raw)
        version, value = document["v"], document["value"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Fatal(f"the config log's entry {key!r} is unreadable; write it again or delete it") from error
    if version > ENTRY_VERSION:
        raise Fatal(f"the config log's entry {key!r} has format {version}, this Certes reads up to {ENTRY_VERSION}")
    return value


class ConfigLog:
    """Reads the config log and follows it. `on_change` hears the keys that changed, after each batch."""

    def __init__(self, *, kafka: str, topic: str, on_fatal: Callable[[BaseException], None]) -> None:
        self._topic = TopicPartition(topic, 0)
        self._kafka = kafka
        self._on_fatal = on_fatal
        self._consumer: AIOKafkaConsumer | None = None
        self._following: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self.config = Config()
        self.on_change: list[Callable[[frozenset[str]], None]] = []

    async def start(self) -> None:
        """Read to the end. Raises Unavailable when Kafka does not answer, Fatal for what cannot be read."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=250
        )
        try:
            await consumer.start()
            self._consumer = consumer
            consumer.assign([self._topic])
            await consumer.seek_to_beginning(self._topic)
            end = (await consumer.end_offsets([self._topic]))[self._topic]
            while await consumer.position(self._topic) < end:
                await self._read(consumer)
        except KafkaError as error:
            await self.stop()
            raise Unavailable(f"the config log at Kafka {self._kafka} cannot be read: {error}") from error
        self._following = asyncio.create_task(self._follow(consumer), name="config-log")

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        if self._consumer is not None:
            await self._consumer.stop()
        self._following = self._consumer = None

    async def reached(self, offset: int, *, seconds: float) -> bool:
        """Wait until the entry at `offset` has been read; False when it was not within `seconds`."""
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(lambda: self.config.offset >= offset), seconds)
            except TimeoutError:
                return False
        return True

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                await self._read(consumer)
            except KafkaError as error:
                logger.warning("the config log cannot be read, trying again: %s", error, extra={"action": "config"})
                await asyncio.sleep(0.5)
            except (Fatal, ValidationError) as error:
                self._on_fatal(error)
                return

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(self._topic, timeout_ms=1000)
        changed = set()
        for record in batches.get(self._topic, ()):
            key = (record.key or b"").decode("utf-8", "replace")
            self.config.apply(key, record.value, record.offset)
            changed.add(key)
        if any(key.partition("/")[0] in _ROUTING for key in changed):
            self.config.rebuild_router()
        if changed:
            for listener in self.on_change:
                listener(frozenset(changed))
            async with self._moved:
                self._moved.notify_all()
