"""What the Master API needs of the worker it runs in. `agents.app` hands it over, the tests hand over fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import aiohttp

from certes.backoffs import BackoffRow
from certes.clock import Clock
from certes.command import Command
from certes.config import ConfigLog
from certes.config_writer import ConfigWriter
from certes.event import EventRow
from certes.registry.push import Pushed
from certes.registry.schema import Schema
from certes.settings import Settings
from certes.uri import EventUri


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events; all of it must hold. `uri` may end in `/*`; `since` (inclusive) and `until` are ms since 1970.

    `subscription` asks for events with a delivery to it; `q` for a text in ids, URIs, sources or errors.
    """

    uri: str | None = None
    state: str | None = None
    source: str | None = None
    subscription: str | None = None
    since: int | None = None
    until: int | None = None
    q: str | None = None


class DeliveryLine(NamedTuple):
    """A delivery as a view shows it. `due` is ms since 1970."""

    event: str
    subscription: str
    state: str
    priority: int
    due: int
    attempt: int
    epoch: int
    error: str | None


class QueueLine(NamedTuple):
    """The open deliveries of one priority: how many, and when the oldest was or is due (ms since 1970)."""

    priority: int
    pending: int
    waiting: int
    oldest_due: int


class Tables(Protocol):
    """The tables of the partitions that this worker owns. Lists are in order and begin after the place given.

    All reads raise Unavailable when a partition has left or the read takes too long.
    """

    @property
    def partitions(self) -> frozenset[int]: ...

    def folded(self, partition: int) -> int:
        """The offset up to which the log has been folded."""

    async def end(self, partition: int) -> int:
        """The offset of the last record that is there to be folded, asked of Kafka now; -1 without any."""

    async def event(self, partition: int, identifier: str) -> EventRow | None: ...

    async def events(
        self, partition: int, query: EventQuery, *, before: tuple[int, int] | None, limit: int
    ) -> Sequence[EventRow]:
        """Newest first; `before` is (received_at, offset)."""

    async def backoffs(
        self, partition: int, *, subscription: str | None, after: str, limit: int
    ) -> Sequence[BackoffRow]:
        """By subscription."""

    async def deliveries(
        self, partition: int, *, event: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[DeliveryLine]:
        """By event and subscription."""

    async def due(
        self, partition: int, *, subscription: str | None, after: tuple[int, int, str, str] | None, limit: int
    ) -> Sequence[DeliveryLine]:
        """Open ones as they are taken: higher priority first, then earlier due; `after` is (-priority, due, event,
        subscription).
        """

    async def queue(self, partition: int) -> Sequence[QueueLine]:
        """By priority, highest first."""

    async def states(self, partition: int) -> Mapping[str, int]:
        """How many events are in which state."""


class Payloads(Protocol):
    async def value(self, row: EventRow) -> bytes:
        """The bytes as received. Raises Gone when they are past retention, Unavailable when Kafka does not answer."""

    async def outcome_response(
        self, partition: int, offset: int, *, event: str, subscription: str, attempt: int
    ) -> str:
        """The beginning of a handler's answer, from its outcome record. Raises Gone, Unavailable."""


class Registry(Protocol):
    """The schema registry. All calls raise NotFound, Invalid, Conflict or Unavailable."""

    async def latest(self, uri: EventUri) -> Schema: ...

    async def versions(self, uri: EventUri) -> Sequence[Schema]: ...

    async def list(self) -> Sequence[Schema]: ...

    async def push(self, uri: EventUri, schema: dict[str, Any] | str, *, dry_run: bool = False) -> Pushed: ...


@dataclass(frozen=True, slots=True)
class Status:
    """How the worker is at this moment. `lag` is records not yet folded, by partition; `in_flight` calls of handlers
    by subscription; `mailbox` the open deliveries in memory; `fold` counts what did not become a row.
    """

    ready: bool
    unavailable: tuple[str, ...] = ()
    recovery: Mapping[str, Any] = field(default_factory=dict)
    lag_seconds: float = 0.0
    lag: Mapping[int, int] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    mailbox: int = 0
    fold: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deps:
    """All of it. `send_command` appends a command to its event's partition and answers the record's offset;
    `is_running` says whether a call for (event, subscription) is going on; `session` is for asking other workers.
    """

    settings: Settings
    config_log: ConfigLog
    config_writer: ConfigWriter
    clock: Clock
    tables: Tables
    payloads: Payloads
    registry: Registry
    status: Callable[[], Status]
    send_command: Callable[[Command], Awaitable[int]]
    is_running: Callable[[str, str], bool]
    session: aiohttp.ClientSession
