"""Ends a worker that stands still although Kafka answers; Faust's own monitors only log.

Watched are recovery and, per partition, the oldest chunk that is not committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any, cast

from faust.types import AppT
from mode import Service

from agents.transport.consumer import Consumer
from agents.transport.end import Die
from agents.transport.recovery import Recovery
from certes.clock import Clock

LIMIT_SECONDS = 60.0
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 5.0


class Standstill:
    """For how long each of several marks has not moved. Times in seconds of any one clock."""

    def __init__(self) -> None:
        self._since: dict[Hashable, tuple[Hashable, float]] = {}

    def observe(self, marks: Mapping[Hashable, Hashable], at: float) -> tuple[Hashable, float] | None:
        """What has stood longest and for how long; None when nothing is watched. What is not in `marks` is done."""
        self._since = {
            what: old if (old := self._since.get(what)) and old[0] == mark else (mark, at)
            for what, mark in marks.items()
        }
        longest = min(self._since, key=lambda what: self._since[what][1], default=None)
        return None if longest is None else (longest, at - self._since[longest][1])

    def reset(self) -> None:
        self._since.clear()


class Watchdog(Service):
    def __init__(
        self, app: AppT, *, clock: Clock, die: Die, limit_seconds: float = LIMIT_SECONDS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._clock = clock
        self._die = die
        self._limit_seconds = limit_seconds
        self._standstill = Standstill()

    @Service.timer(LOOK_SECONDS)
    async def _watch(self) -> None:
        await self.look()

    async def look(self) -> None:
        """Once: die if something has stood still for too long."""
        marks = self._marks()
        if marks and not await self._kafka_answers():
            self._standstill.reset()
            return
        longest = self._standstill.observe(marks, self._clock.monotonic())
        if longest and longest[1] > self._limit_seconds:
            self._die(f"{longest[0]} has stood still for {longest[1]:.0f} s while Kafka answers")

    def _marks(self) -> dict[Hashable, Hashable]:
        app = cast("Any", self._app)
        recovery: Recovery = app.tables.recovery
        if app.rebalancing or app.in_recovery:
            offsets = frozenset(recovery.active_offsets.items())
            return {} if recovery.in_callbacks else {"recovery": (app.consumer_generation_id, offsets)}
        consumer: Consumer = app.consumer
        return {f"the commit of {tp.topic}/{tp.partition}": offset for tp, offset in consumer.in_work().items()}

    async def _kafka_answers(self) -> bool:
        client = cast("Any", self._app).producer._ensure_producer().client  # noqa: SLF001 - Faust has no other way to it
        try:
            return bool(await asyncio.wait_for(asyncio.shield(client.force_metadata_update()), ANSWER_SECONDS))
        except TimeoutError:
            return False
