"""The registry as gateway and broker use it: answers from memory where it can, and goes on while the registry is down."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from certes.clock import Clock
from certes.errors import NotFound, Refused
from certes.registry.client import RegistryClient
from certes.registry.lookup import Lookup
from certes.registry.memory import FOREVER, NEGATIVE_SECONDS, Memory
from certes.registry.push import Pushed, push
from certes.registry.schema import Schema
from certes.registry.subjects import subject_of
from certes.uri import EventUri

#: How long an answer to "which version is the newest" counts.
LATEST_SECONDS = 30.0
#: Schemas kept, by id and by URI each.
LIMIT = 10_000


class Missing(Enum):
    """The registry was asked and has no schema; other than None, which means that it has to be asked."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Registry:
    """A cached registry. What is known is answered without I/O, also while the registry is down.

    A schema by id counts for ever once its event URI is known, the newest version of a URI for thirty seconds, and
    that something is missing (or an id's URI unknown) for five.
    """

    def __init__(self, client: RegistryClient, *, clock: Clock | None = None, limit: int = LIMIT) -> None:
        clock = clock or Clock()
        self._client = client
        self._lookup = Lookup(client)
        self._by_id = Memory[int, Schema](self._lookup.by_id, _seconds_by_id, limit=limit, clock=clock)
        self._latest = Memory[EventUri, Schema](self._lookup.latest, _seconds_latest, limit=limit, clock=clock)

    @property
    def down_since(self) -> float | None:
        """Since when (monotonic seconds) the registry has not answered; None while it does."""
        times = [memory.failing_since for memory in (self._by_id, self._latest)]
        return min((time for time in times if time is not None), default=None)

    def cached(self, schema_id: int) -> Schema | None:
        """The schema of an id if it is known; None: ask `by_id`."""
        known = self._by_id.peek(schema_id)
        return known if isinstance(known, Schema) else None

    def cached_latest(self, uri: EventUri) -> Schema | Missing | None:
        """The newest schema of an event, MISSING if it is known to have none; None: ask `latest`."""
        known = self._latest.peek(uri)
        if isinstance(known, NotFound):
            return MISSING
        return known if isinstance(known, Schema) else None

    async def by_id(self, schema_id: int) -> Schema:
        """Raises NotFound, Invalid for what is no Avro schema, Unavailable."""
        return await self._by_id.get(schema_id)

    async def latest(self, uri: EventUri) -> Schema:
        """The newest schema of an event. Raises NotFound, Invalid for what is no Avro schema, Unavailable."""
        return await self._latest.get(uri)

    async def push(self, uri: EventUri, schema: dict[str, Any] | str, *, dry_run: bool = False) -> Pushed:
        """Register a schema as the next version of an event, unless it is one already; adopts the subject as well.

        Raises Invalid, Conflict with all reasons, Unavailable. With `dry_run` nothing changes.
        """
        pushed = await push(self._client, uri, schema, dry_run=dry_run)
        if pushed.created and not dry_run:
            self._forget(subject_of(uri))
        return pushed

    async def list(self) -> Sequence[Schema]:
        """The newest version of every subject that holds Avro, those without an event URI included; not cached."""
        return await self._lookup.all()

    async def versions(self, uri: EventUri) -> Sequence[Schema]:
        """All versions of an event, oldest first; not cached. Raises NotFound, Unavailable."""
        return await self._lookup.versions(uri)

    async def close(self) -> None:
        """End what runs in the background, and the client's connections."""
        await self._by_id.close()
        await self._latest.close()
        await self._client.close()

    def _forget(self, subject: str) -> None:
        """After a change of `subject`: what is known of it, and all that was refused."""

        def keep(answer: Schema | Refused) -> bool:
            return isinstance(answer, Schema) and answer.subject != subject

        self._by_id.forget(keep)
        self._latest.forget(keep)


def _seconds_by_id(schema: Schema) -> float:
    # Without a URI it waits for somebody to adopt its subject.
    return NEGATIVE_SECONDS if schema.uri is None else FOREVER


def _seconds_latest(_schema: Schema) -> float:
    return LATEST_SECONDS
