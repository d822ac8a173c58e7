"""Tables after a rebalance: read what is missing from the changelog, then and only then go on with the log.

Faust's own version resumes partitions before it seeks (#596), waits for ever for a tail that has no readable record
(#597, #176), swallows errors of stores and callbacks, and loses a signal that comes early.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP, EventT
from faust.types.tables import CollectionT
from faust.types.transports import ConsumerT
from mode import Service

from agents.transport.chunk import Chunk
from agents.transport.end import Die
from tables.table import Table

IDLE_SECONDS = 1.0  # without a changelog record: time to ask whether there is one left
SEEK_SECONDS = 60.0


class Recovery(FaustRecovery):
    #: The `on_recover` callbacks are running; they take as long as they take.
    in_callbacks = False

    _at_end: frozenset[TP] = frozenset()

    @property
    def _die(self) -> Die:
        return cast("Die", cast("Any", self.app).die)

    # -- reading the changelog

    @Service.task
    async def _slurp_changelogs(self) -> None:
        try:
            while not self.should_stop:
                await self._next()
                self._maybe_end()
        except Exception as exc:  # noqa: BLE001 - whatever it is, rows are missing
            self._die(f"the tables cannot be recovered: {exc!r}")

    async def _next(self) -> None:
        try:
            event = await asyncio.wait_for(self.tables.changelog_queue.get(), IDLE_SECONDS)
        except TimeoutError:
            await self._pass_unreadable_tails()
        else:
            self._at_end = frozenset()
            self._apply(event)

    def _apply(self, event: EventT[Any]) -> None:
        """Rows that the store does not have yet. What was fetched before a rebalance is read again after it."""
        chunk = cast("Chunk", event.message)
        offsets = self._offsets(chunk.tp)
        if offsets is None or chunk.generation_id != self.app.consumer_generation_id:
            return
        seen = offsets[chunk.tp]
        records = [record for record in chunk.records if seen is None or record.offset > seen]
        if records:
            cast("Table", self.tp_to_table[chunk.tp]).store.apply(chunk.partition, records)
            offsets[chunk.tp] = chunk.offset

    def _offsets(self, tp: TP) -> Counter[TP] | None:
        if tp in self.active_tps:
            return self.active_offsets
        return self.standby_offsets if tp in self.standby_tps else None

    async def _pass_unreadable_tails(self) -> None:
        """A partition whose position has passed the end is complete, though its last offsets show no record: they were
        transaction markers, or compaction has taken them. Twice in a row, so that none is on its way to us.
        """
        at_end = frozenset([tp for tp, left in self.active_remaining().items() if left > 0 and await self._is_read(tp)])
        for tp in at_end & self._at_end:
            self.active_offsets[tp] = self.active_highwaters[tp]
        self._at_end = at_end

    async def _is_read(self, tp: TP) -> bool:
        try:
            position = await self.app.consumer.position(tp)
        except IllegalStateError:  # revoked meanwhile
            return False
        return position is not None and position > self.active_highwaters[tp]

    def _maybe_end(self) -> None:
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()
        if not self.tables.standbys_ready and not self.standby_remaining_total():
            self.tables.on_standbys_ready()

    def _set_recovery_started(self) -> None:
        super()._set_recovery_started()
        self.signal_recovery_end.clear()
        self._at_end = frozenset()

    # -- where to begin

    async def _build_offsets(self, consumer: ConsumerT, tps: set[TP], destination: Counter[TP], title: str) -> None:
        """Files that are ahead of their changelog were made from another one."""
        ends = await consumer.highwaters(*tps)
        for tp in tps:
            saved = destination[tp]
            if saved is not None and saved >= (ends[tp] or 0):
                table: CollectionT = self.tp_to_table[tp]
                await cast("Table", table).store.rebuild(
                    tp.partition, f"it has changelog offset {saved}, {tp.topic} ends before {ends[tp]}"
                )
                del destination[tp]
                destination.setdefault(tp, cast("int", None))
        await super()._build_offsets(consumer, tps, destination, title)

    # -- the end of recovery

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Callbacks, then seek, then resume. Queues are not cleared: nothing but changelog records of standbys can be
        in them, and they are not read again.
        """
        app = cast("Any", self.app)
        await app.on_rebalance_complete.send()
        self._set_recovery_ended()
        await self._run_callbacks()
        if app.consumer_generation_id != generation_id:
            return
        if assignment := app.consumer.assignment():
            await asyncio.wait_for(app.consumer.perform_seek(), SEEK_SECONDS)
        if app.consumer_generation_id != generation_id:
            return
        app.consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        self.completed.set()
        await app._fetcher.maybe_start()  # noqa: SLF001 - as Faust does
        self.tables.on_actives_ready()
        if not app.assignor.assigned_standbys():
            self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.log.info("tables are complete, the worker is ready")

    async def _run_callbacks(self) -> None:
        self.in_callbacks = True
        try:
            for table in self.tables.values():
                await table.on_recovery_completed(self.actives_for_table[table], self.standbys_for_table[table])
        except Exception as exc:  # noqa: BLE001 - Faust would go on with half of what is to be rebuilt
            self._die(f"a callback after recovery failed: {exc!r}")
        finally:
            self.in_callbacks = False


class TableManager(FaustTableManager):
    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast("Recovery", self._recovery)
