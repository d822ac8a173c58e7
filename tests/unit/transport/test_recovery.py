from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents.transport.chunk import Chunk
from agents.transport.recovery import Recovery
from tests.apps.ended import Ended, end
from tests.apps.records import record

LOG, ACTIVE, STANDBY = TP("log", 0), TP("changelog", 0), TP("changelog", 1)


class FakeStore:
    def __init__(self) -> None:
        self.applied: list[tuple[int, list[int]]] = []
        self.rebuilt: list[int] = []

    def apply(self, partition: int, records: Any) -> None:
        self.applied.append((partition, [r.offset for r in records]))

    async def rebuild(self, partition: int, _reason: str) -> None:
        self.rebuilt.append(partition)


class FakeTable:
    def __init__(self, calls: list[str]) -> None:
        self.store = FakeStore()
        self.calls = calls
        self.error: Exception | None = None

    async def on_recovery_completed(self, _actives: Any, _standbys: Any) -> None:
        self.calls.append("callback")
        if self.error:
            raise self.error


class Bench:
    """A recovery without the services around it; `calls` is what it did, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.table = FakeTable(self.calls)
        self.position = 0
        self.recovery: Any = Recovery.__new__(Recovery)
        self.recovery.app = self._app()
        self.recovery.tables = self._tables()
        self.recovery.active_tps, self.recovery.standby_tps = {ACTIVE}, {STANDBY}
        self.recovery.tp_to_table = dict.fromkeys((ACTIVE, STANDBY), self.table)
        for name in ("active_offsets", "standby_offsets", "active_highwaters", "standby_highwaters"):
            setattr(self.recovery, name, Counter())
        self.recovery.actives_for_table = {self.table: {ACTIVE}}
        self.recovery.standbys_for_table = {self.table: {STANDBY}}
        self.recovery.completed = asyncio.Event()
        self.recovery._set_recovery_ended = lambda: self.calls.append("ended")
        self.recovery.log = SimpleNamespace(info=lambda *_: None)
        self.recovery.in_recovery = False

    def note(self, what: str) -> Any:
        async def call(*_args: Any, **_kwargs: Any) -> None:
            self.calls.append(what)

        return call

    def _app(self) -> Any:
        async def position(_tp: TP) -> int:
            return self.position

        consumer = SimpleNamespace(
            assignment=lambda: {LOG, ACTIVE, STANDBY},
            perform_seek=self.note("seek"),
            resume_partitions=lambda tps: self.calls.append(f"resume {sorted(tps)}"),
            position=position,
        )
        return SimpleNamespace(
            consumer=consumer,
            consumer_generation_id=5,
            die=end,
            on_rebalance_complete=SimpleNamespace(send=self.note("signal")),
            flow_control=SimpleNamespace(resume=lambda: self.calls.append("clear queues")),
            _fetcher=SimpleNamespace(maybe_start=self.note("fetch")),
            assignor=SimpleNamespace(assigned_standbys=lambda: {STANDBY}),
            on_rebalance_end=lambda: self.calls.append("end"),
        )

    def _tables(self) -> Any:
        table = self.table

        class Tables(dict[str, Any]):
            changelog_topics = frozenset({"changelog"})
            standbys_ready = True

            def on_actives_ready(self) -> None: ...

            def on_standbys_ready(self) -> None: ...

        return Tables(counts=table)

    def apply(self, tp: TP, *offsets: int, generation: int = 5) -> None:
        records = [record(offset) for offset in offsets]
        self.recovery._apply(SimpleNamespace(message=Chunk(tp, records, generation)))


async def test_the_log_resumes_after_callbacks_and_seek_and_no_queue_is_cleared() -> None:
    """#596: Faust resumes, seeks, then clears what was read in between."""
    bench = Bench()
    await bench.recovery.on_recovery_completed(5)
    assert bench.calls == ["signal", "ended", "callback", "seek", f"resume {[LOG]}", "fetch", "end"]
    assert bench.recovery.completed.is_set()


async def test_a_rebalance_during_the_callbacks_stops_it() -> None:
    bench = Bench()
    await bench.recovery.on_recovery_completed(4)
    assert bench.calls == ["signal", "ended", "callback"]


async def test_an_error_in_a_callback_ends_the_worker() -> None:
    bench = Bench()
    bench.table.error = ValueError("half a mailbox")
    with pytest.raises(Ended, match="half a mailbox"):
        await bench.recovery.on_recovery_completed(5)
    assert "seek" not in bench.calls


def test_only_rows_that_are_not_there_yet_are_applied() -> None:
    bench = Bench()
    bench.recovery.active_offsets[ACTIVE] = 3
    bench.apply(ACTIVE, 2, 3, 4, 6)
    bench.apply(ACTIVE, 5, 6)
    assert bench.table.store.applied == [(0, [4, 6])]
    assert bench.recovery.active_offsets[ACTIVE] == 6


def test_standbys_have_offsets_of_their_own() -> None:
    bench = Bench()
    bench.recovery.standby_offsets[STANDBY] = 0
    bench.apply(STANDBY, 1)
    assert bench.table.store.applied == [(1, [1])]
    assert bench.recovery.standby_offsets[STANDBY] == 1


def test_a_partition_that_left_is_not_applied_to_another() -> None:
    """Faust applies it to the table of the record before."""
    bench = Bench()
    bench.apply(TP("changelog", 9), 1)
    assert bench.table.store.applied == []


def test_what_was_fetched_before_a_rebalance_is_not_applied() -> None:
    """It may leave a gap: the queue was cleared in between."""
    bench = Bench()
    bench.recovery.active_offsets[ACTIVE] = 3
    bench.apply(ACTIVE, 9, generation=4)
    assert bench.table.store.applied == []
    assert bench.recovery.active_offsets[ACTIVE] == 3


async def test_any_error_while_reading_ends_the_worker() -> None:
    """Faust logs a warning and goes on without the rows."""

    async def fail() -> None:
        raise ValueError("no such row")

    bench = Bench()
    bench.recovery._next = fail
    bench.recovery._stopped = bench.recovery._crashed = asyncio.Event()
    with pytest.raises(Ended, match="no such row"):
        await Recovery._slurp_changelogs.fun(bench.recovery)  # type: ignore[attr-defined]


async def test_a_tail_without_records_is_passed_once_it_was_seen_twice() -> None:
    """#597, #176: the last offsets are transaction markers or were compacted away."""
    bench = Bench()
    bench.recovery.active_offsets[ACTIVE], bench.recovery.active_highwaters[ACTIVE] = 7, 9
    bench.position = 9
    await bench.recovery._pass_unreadable_tails()
    await bench.recovery._pass_unreadable_tails()
    assert bench.recovery.need_recovery()
    bench.position = 10
    await bench.recovery._pass_unreadable_tails()
    assert bench.recovery.need_recovery()
    await bench.recovery._pass_unreadable_tails()
    assert not bench.recovery.need_recovery()


async def test_files_ahead_of_their_changelog_are_rebuilt() -> None:
    async def highwaters(*tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 10)

    async def earliest_offsets(*tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 0)

    bench = Bench()
    kafka: Any = SimpleNamespace(highwaters=highwaters, earliest_offsets=earliest_offsets)
    bench.recovery._start_offsets_logtable = lambda *_args, **_kwargs: ""
    offsets = Counter({ACTIVE: 9, STANDBY: 10})
    await bench.recovery._build_offsets(kafka, {ACTIVE, STANDBY}, offsets, "active")
    assert bench.table.store.rebuilt == [1]
    assert offsets == {ACTIVE: 9, STANDBY: -1}
