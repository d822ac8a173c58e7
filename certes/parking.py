"""Parking: events that wait for their schema, fetched for beside the fold, which never waits.

A parked event's row is `accepted`. When its schema is there, or known not to come, the verdict goes onto the log as a
command `resume`. Later events of the same ordering key wait behind it, so that they keep their order.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from typing import Protocol

from certes.admission import Admission, is_avro, rejected
from certes.clock import Clock
from certes.command import Command, Verdict
from certes.errors import Malformed, NotFound, Refused, Unavailable
from certes.event import EventRow, Problem
from certes.records import Arrival
from certes.registry.framing import unframe
from certes.registry.schema import Schema
from certes.uri import EventUri

logger = logging.getLogger(__name__)

Lane = tuple[int, str]  # partition, and ordering key or event id
AGAIN_SECONDS = 1.0


class Schemas(Protocol):
    """The registry, asked and waited for."""

    async def by_id(self, schema_id: int) -> Schema: ...

    async def latest(self, uri: EventUri) -> Schema: ...


class Parking:
    """Judges arrivals as `admission` does, and looks after those that cannot be judged yet.

    `value_of` reads a payload back, `resume` appends a command. `wait_seconds`: how long an unknown schema is waited
    for while the registry answers; while it does not, there is no limit.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        schemas: Schemas,
        value_of: Callable[[EventRow], Awaitable[bytes]],
        resume: Callable[[Command], Awaitable[object]],
        wait_seconds: float,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._schemas = schemas
        self._value_of = value_of
        self._resume = resume
        self._wait = wait_seconds
        self._clock = clock
        self._lanes: dict[Lane, list[EventRow]] = {}  # in log order, the first is looked after
        self._tasks: dict[Lane, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def judge(self, arrival: Arrival) -> Verdict | Problem:
        """For the fold: the verdict, or why the event is parked."""
        lane = self._lanes.get((arrival.partition, arrival.key)) if arrival.key is not None else None
        return Problem(f"waits behind {lane[0].id}, which has the same key") if lane else self._admission(arrival)

    def see(self, row: EventRow) -> None:
        """For the fold: each row that was written. A row that is `accepted` gets a place, one that is not loses it.

        Rows that are rebuilt after a start come in any order.
        """
        name = (row.partition, row.key if row.key is not None else row.id)
        lane = self._lanes.get(name, [])
        place = bisect_left(lane, row.offset, key=_offset)
        known = place < len(lane) and lane[place].offset == row.offset
        if row.state != "accepted":
            if known:
                self._leave(name, place)
        elif not known:
            self._lanes.setdefault(name, lane).insert(place, row)
            if place == 0:
                self._start(name)

    def forget(self, partition: int) -> None:
        """A partition has left: its new owner looks after its events."""
        for name in [name for name in self._lanes if name[0] == partition]:
            del self._lanes[name]
            self._stop(name)

    def _leave(self, name: Lane, place: int) -> None:
        lane = self._lanes[name]
        del lane[place]
        if not lane:
            del self._lanes[name]
            self._stop(name)
        elif place == 0:
            self._start(name)

    def _stop(self, name: Lane) -> None:
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def _start(self, name: Lane) -> None:
        """Look after the first of a lane; the fold of its `resume` starts the next."""
        self._stop(name)
        task = asyncio.get_running_loop().create_task(self._look_after(self._lanes[name][0]), name=f"parked-{name[0]}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: Lane, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a parked event is left to the next start: %r", error, extra={"action": "park"})

    async def _look_after(self, row: EventRow) -> None:
        verdict = await self._verdict(row)
        command = Command("resume", row.id, at=round(self._clock.now() * 1000), verdict=verdict)
        while not await self._resumed(command):  # noqa: ASYNC110 - Kafka sends no event when it is back
            await asyncio.sleep(AGAIN_SECONDS)

    async def _resumed(self, command: Command) -> bool:
        try:
            await self._resume(command)
        except Unavailable as error:
            logger.warning("event %s cannot be resumed yet: %s", command.event, error, extra={"action": "resume"})
            return False
        return True

    async def _verdict(self, row: EventRow) -> Verdict:
        while True:
            try:
                arrival = arrival_of(row, await self._value_of(row))
                await self._fetch(arrival)
                found = self._admission.look_up(arrival)
                if not isinstance(found, Problem):
                    return await asyncio.to_thread(self._admission.decide, arrival, found)
            except NotFound as error:
                if self._waited(row) >= self._wait:
                    return self._without_schema(row, error)
            except Unavailable as error:
                logger.info("event %s goes on waiting: %s", row.id, error, extra={"action": "park"})
            except Refused as error:
                return rejected(error, uri=row.uri)
            except Exception as error:
                logger.exception("parked event %s could not be judged", row.id, extra={"action": "park"})
                return Verdict.failed(error)
            await asyncio.sleep(AGAIN_SECONDS)

    def _waited(self, row: EventRow) -> float:
        return self._clock.now() - row.received_at / 1000

    @staticmethod
    def _without_schema(row: EventRow, error: NotFound) -> Verdict:
        return rejected(NotFound(f"unknown schema: {error}"), uri=row.uri)

    async def _fetch(self, arrival: Arrival) -> None:
        """Ask for what admission did not have. Raises NotFound only where the event needs a schema."""
        if is_avro(arrival.content_type, arrival.value):
            await self._schemas.by_id(unframe(arrival.value).schema_id)
        elif arrival.schema_id is not None:
            await self._schemas.by_id(arrival.schema_id)
        elif arrival.uri is not None:
            uri = EventUri.parse(arrival.uri)
            try:
                await self._schemas.latest(uri)
            except NotFound:
                if self._admission.requires_schema(arrival, uri):
                    raise
        else:
            raise Malformed("unknown event type: the record has no ce_type")


def _offset(row: EventRow) -> int:
    return row.offset


def arrival_of(row: EventRow, value: bytes) -> Arrival:
    """The arrival that made a row, for judging it again."""
    return Arrival(
        id=row.id,
        partition=row.partition,
        offset=row.offset,
        received_at=row.received_at,
        source=row.source,
        value=value,
        checksum=row.checksum,
        uri=row.uri,
        ce_source=row.ce_source,
        given_id=row.given_id,
        key=row.key,
        content_type=row.content_type,
        time=row.time,
        traceparent=row.traceparent,
        trace=row.trace,
        schema_id=None if row.schema is None else row.schema.id,
    )
