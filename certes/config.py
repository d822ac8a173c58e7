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
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from certes.backoff import Policy
from certes.errors import Fatal, Unavailable
from certes.routing import Router
from certes.source import Source
from certes.subscription import Priority, StoredSubscription

logger = logging.getLogger(__name__)

ENTRY_VERSION = 1
RETRY_SECONDS = 0.5
GLOBAL = "global"  # the name of the one entry of kind `config`
Kind = Literal["subscription", "source", "priority", "backoff", "key", "member", "audit", "config"]


class Member(BaseModel):
    """A live worker or gateway: where it is reached by the others, and the log partitions it owns."""

    id: str
    role: Literal["worker", "gateway"]
    url: str
    partitions: tuple[int, ...] = ()
    since: str = ""


class _Priority(BaseModel):
    priority: Priority


SchemaRule = Literal["optional", "required"]


class SchemaRules(BaseModel):
    """Whether own events need a schema, by their domain. Third parties' sources say so themselves."""

    model_config = ConfigDict(extra="forbid")

    default: SchemaRule = "required"
    domains: dict[str, SchemaRule] = {}


class GlobalConfig(BaseModel):
    """The entry `config/global`: feature flags and settings that change while everything runs."""

    model_config = ConfigDict(extra="forbid")

    flags: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], bool] = {}
    schemas: SchemaRules = SchemaRules()


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
    settings: GlobalConfig = field(default_factory=GlobalConfig)
    router: Router = field(default_factory=Router)

    def entry(self, kind: Kind, name: str) -> Entry | None:
        return self.entries[kind].get(name)

    def workers(self) -> list[Member]:
        return [one for one in self.members.values() if one.role == "worker"]

    def owner(self, partition: int) -> Member | None:
        """The worker that says it owns a log partition; the one that said so last."""
        claims = [one for one in self.workers() if partition in one.partitions]
        return max(claims, key=lambda one: self.entries["member"][one.id].offset, default=None)

    def schema_rule(self, domain: str) -> SchemaRule:
        """Whether own events of a domain need a schema."""
        rules = self.settings.schemas
        return rules.domains.get(domain, rules.default)

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
        entry = self.entries[kind].get(name)
        parsed = None if entry is None else _parsed(entry)
        if kind == "config":
            self.settings = parsed or GlobalConfig()
            return
        models: dict[str, Any] = getattr(self, _PLURAL[kind])
        if parsed is None:
            models.pop(name, None)
        else:
            models[name] = parsed

    def rebuild_router(self) -> None:
        self.router = Router(self.subscriptions.values(), priorities=self.priorities, backoffs=self.backoffs)


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "subscription": StoredSubscription.model_validate,
    "source": Source.model_validate,
    "priority": lambda value: _Priority.model_validate(value).priority,
    "backoff": Policy.model_validate,
    "member": Member.model_validate,
    "config": GlobalConfig.model_validate,
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
        newer = version > ENTRY_VERSION
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Fatal(f"the config log's entry {key!r} is unreadable; write it again or delete it") from error
    if newer:
        raise Fatal(f"the config log's entry {key!r} has format {version}, this Certes reads up to {ENTRY_VERSION}")
    if not isinstance(value, dict):
        raise Fatal(f"the config log's entry {key!r} holds no object; write it again or delete it")
    return value


def _parsed(entry: Entry) -> Any:
    try:
        return _PARSERS[entry.kind](entry.value)
    except ValidationError as error:
        # Without what was given: it may hold secrets.
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        name = f"{entry.kind}/{entry.name}"
        raise Fatal(f"the config log's entry {name!r} is unreadable, {wrong}; upgrade, or write it again") from None


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
        """Read from the beginning to the end. Raises Unavailable when Kafka does not answer, Fatal for what cannot be
        read.
        """
        # What was deleted while nobody read may have left no record.
        self.config = Config()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=250
        )
        self._consumer = consumer
        try:
            await consumer.start()
            consumer.assign([self._topic])
            await consumer.seek_to_beginning(self._topic)
            end = (await consumer.end_offsets([self._topic]))[self._topic]
            while await consumer.position(self._topic) < end:
                await self._read(consumer)
        except KafkaError as error:
            await self.stop()
            raise Unavailable(f"the config log at Kafka {self._kafka} cannot be read: {error}") from error
        except BaseException:
            await self.stop()
            raise
        self._following = asyncio.create_task(self._follow(consumer), name="config-log")
        self._following.add_done_callback(self._ended)

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            # What it died of has been told already.
            await asyncio.gather(self._following, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()
        self._following = self._consumer = None

    async def reached(self, offset: int, *, seconds: float) -> bool:
        """Wait until the entry at `offset` has been read; False when it was not within `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: self.config.offset >= offset)
        except TimeoutError:
            return False
        return True

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                await self._read(consumer)
            except KafkaError as error:
                logger.warning("the config log cannot be read, trying again: %s", error, extra={"action": "config"})
                await asyncio.sleep(RETRY_SECONDS)

    def _ended(self, following: asyncio.Task[None]) -> None:
        """A process that no longer hears of changes must not go on, whatever the reason."""
        if not following.cancelled() and (error := following.exception()) is not None:
            self._on_fatal(error)

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
