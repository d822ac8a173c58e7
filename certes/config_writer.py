"""The one writer of the configuration, in the worker that owns partition 0 of the log.

A write is answered when every live worker and gateway has read it, so that "create a subscription, publish" never
loses the event. Who has not read it in time is named; the write stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from certes.access import cluster_token
from certes.clock import Clock
from certes.config import ConfigLog, Entry, Kind, Member, encode
from certes.errors import PreconditionFailed, Unavailable
from certes.internal import CONFIG_PATH

logger = logging.getLogger(__name__)

CONFIRM_SECONDS = 2.0
READ_BACK_SECONDS = 10.0
#: A process that refuses connections for longer than a restart of its listener takes is not alive.
BURY_SECONDS = 15.0

Append = Callable[[str, bytes | None], Awaitable[int]]
Decide = Callable[[Entry | None], Any]


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a caller knows of the entry: `If-Match` (its ETags, or `*`: it exists), `If-None-Match: *` (`absent`)."""

    match: frozenset[str] = frozenset()
    absent: bool = False

    def check(self, entry: Entry | None) -> None:
        """Raises PreconditionFailed."""
        if self.absent and entry is not None:
            raise PreconditionFailed(f"{entry.kind} {entry.name} exists already")
        if self.match and (entry is None or self.match.isdisjoint({"*", entry.etag})):
            raise PreconditionFailed("it was changed or deleted meanwhile: read it again and repeat the change")


ANY = Precondition()


@dataclass(frozen=True, slots=True)
class Written:
    """A write that stands: the entry before and after (None: there was or is none), and the ids of the members that
    have not read it.
    """

    offset: int
    before: Entry | None
    entry: Entry | None
    unread: tuple[str, ...] = ()


class ConfigProducer:
    """Appends records to the config log; each is acknowledged by all replicas that are in sync."""

    def __init__(self, *, kafka: str, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Raises Unavailable when Kafka does not answer."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka, acks="all", enable_idempotence=True)
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise Unavailable(f"Kafka {self._kafka} does not answer: {error}") from error
        self._producer = producer

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
        self._producer = None

    async def append(self, key: str, value: bytes | None) -> int:
        """Write one record, None deletes the key. Its offset. Raises Unavailable when Kafka does not take it."""
        if self._producer is None:
            raise Unavailable("the config log's producer is not running")
        try:
            sent = await self._producer.send_and_wait(self._topic, value, key=key.encode(), partition=0)
        except KafkaError as error:
            raise Unavailable(f"Kafka does not take the config entry {key}: {error}") from error
        return int(sent.offset)


class ConfigWriter:
    """Changes entries one at a time. Any process announces itself by it; all else is for the owner of partition 0."""

    def __init__(
        self,
        *,
        log: ConfigLog,
        append: Append,
        session: aiohttp.ClientSession,
        cluster_key: bytes,
        member_id: str,
        clock: Clock,
    ) -> None:
        self._log = log
        self._append = append
        self._me = member_id
        self._clock = clock
        self._lock = asyncio.Lock()
        self._readers = _Readers(session, cluster_key)
        self._refused_since: dict[str, float] = {}

    @property
    def writes_here(self) -> bool:
        """Whether this process is the writer."""
        owner = self._log.config.owner(0)
        return owner is not None and owner.id == self._me

    async def change(self, kind: Kind, name: str, decide: Decide, *, expect: Precondition = ANY) -> Written:
        """Replace an entry's value by what `decide` makes of the present entry; None deletes it.

        Raises PreconditionFailed, what `decide` raises, and Unavailable when this process is not the writer (any
        more) or Kafka does not take the record.
        """
        async with self._lock:
            if not self.writes_here:
                raise Unavailable("the configuration is written by another worker; ask again")
            before = self._log.config.entry(kind, name)
            expect.check(before)
            offset = await self._write(kind, name, decide(before))
            entry = self._log.config.entry(kind, name)
        return Written(offset, before, entry, await self._unread_by(offset))

    async def announce(self, member: Member) -> None:
        """Say that this process is alive, and which partitions it owns."""
        await self._write("member", member.id, member.model_dump(mode="json"))

    async def withdraw(self, member_id: str) -> None:
        """Say that this process is not alive any more."""
        await self._write("member", member_id, None)

    async def sweep(self) -> None:
        """Ask who is alive, and take out who is not. For the writer, every few seconds."""
        if self.writes_here:
            await self._unread_by(-1)

    async def _write(self, kind: Kind, name: str, value: Any) -> int:
        """Append, and read the log to there, so that whoever comes next decides on what stands."""
        offset = await self._append(f"{kind}/{name}", None if value is None else encode(value))
        if not await self._log.reached(offset, seconds=READ_BACK_SECONDS):
            raise Unavailable(f"{kind} {name} is written, but this worker has not read it back within 10 s")
        logger.info("wrote %s %s at %d", kind, name, offset, extra={"action": "config_write"})
        return offset

    async def _unread_by(self, offset: int) -> tuple[str, ...]:
        others = [one for one in self._log.config.members.values() if one.id != self._me]
        answers = dict(zip((one.id for one in others), await self._readers.ask(others, offset), strict=True))
        await self._bury({name for name, answer in answers.items() if answer == "refused"})
        return tuple(sorted(name for name, answer in answers.items() if answer == "unread"))

    async def _bury(self, refused: set[str]) -> None:
        now = self._clock.monotonic()
        self._refused_since = {name: self._refused_since.get(name, now) for name in refused}
        for name in [name for name, since in self._refused_since.items() if now - since > BURY_SECONDS]:
            del self._refused_since[name]
            logger.warning("%s refuses connections and is taken out", name, extra={"action": "member_bury"})
            await self.withdraw(name)


Answer = Literal["read", "unread", "refused"]


class _Readers:
    """The other processes, asked whether they have read the configuration up to an offset."""

    def __init__(self, session: aiohttp.ClientSession, cluster_key: bytes) -> None:
        self._session = session
        self._headers = {"authorization": f"Bearer {cluster_token(cluster_key)}"}

    async def ask(self, members: Iterable[Member], offset: int) -> list[Answer]:
        return await asyncio.gather(*(self._ask(member, offset) for member in members))

    async def _ask(self, member: Member, offset: int) -> Answer:
        url = f"{member.url.rstrip('/')}{CONFIG_PATH}"
        query = {"offset": str(offset), "seconds": str(CONFIRM_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=CONFIRM_SECONDS + 0.2)
        try:
            async with self._session.get(url, params=query, headers=self._headers, timeout=timeout) as response:
                answer = await response.json()
        except aiohttp.ClientConnectorError:
            return "refused"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.warning("%s does not answer: %r", member.id, error, extra={"action": "config_confirm"})
            return "unread"
        return "read" if isinstance(answer, dict) and answer.get("reached") is True else "unread"
