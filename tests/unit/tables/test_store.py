from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faust.stores import by_url
from faust.types import TP

from certes.clock import FrozenClock
from certes.errors import Fatal, Unavailable
from tables.store import COMMIT_SECONDS, Store, register
from tests.apps.counting import Counting, row
from tests.apps.ended import Ended, end

CHANGELOG = "app-counts-changelog"
ZERO, ONE = TP(CHANGELOG, 0), TP(CHANGELOG, 1)


class Owner:
    name = "counts"
    projection = Counting()
    retention_seconds = 100.0
    changelog_topic_name = CHANGELOG

    def __init__(self) -> None:
        self.clock = FrozenClock()


class Host:
    die = staticmethod(end)

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir


@dataclass(frozen=True)
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1_700_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    made: Any = Store("sqlite://", Host(tmp_path), Owner())  # type: ignore[arg-type]
    await hold(made, ZERO, ONE)
    yield made
    await made.on_stop()


async def hold(store: Any, *tps: TP) -> None:
    await store.on_rebalance({*tps, TP("log", 0), TP("log", 7)}, set(), set())


def test_faust_finds_it_by_its_url() -> None:
    register()
    assert by_url("sqlite://") is Store


async def test_partitions_are_held_as_assigned(store: Any) -> None:
    assert store.partitions == {0, 1}
    await hold(store, ONE)
    assert store.partitions == {1}
    with pytest.raises(Fatal, match="partition 0 of table counts is not held"):
        store.put(0, b"a", row(1, "x"))
    with pytest.raises(Fatal, match="partition 0"):
        store.read_row(0, b"a")
    with pytest.raises(Unavailable, match="not on this worker"):
        await store.read(0, "select 1")


async def test_a_partition_that_returns_brings_its_rows_and_offset(store: Any) -> None:
    store.put(0, b"a", row(1, "x"))
    store.set_persisted_offset(ZERO, 4)
    await hold(store, ONE)
    store.set_persisted_offset(ZERO, 9)  # the acknowledgement of a row that was on its way
    assert store.persisted_offset(ZERO) is None
    await hold(store, ZERO, ONE)
    assert store.persisted_offset(ZERO) == 4
    assert store.read_row(0, b"a") == row(1, "x")


async def test_rows_of_one_partition_are_not_seen_in_another(store: Any) -> None:
    store.put(0, b"a", row(1, "x"))
    assert store.read_row(1, b"a") is None


async def test_rows_are_committed_within_milliseconds(store: Any, tmp_path: Path) -> None:
    store.put(1, b"a", row(1, "x"))
    await asyncio.sleep(COMMIT_SECONDS * 5)
    db = sqlite3.connect(tmp_path / "counts" / "1.db")
    assert db.execute("select key from rows").fetchall() == [(b"a",)]
    db.close()


async def test_sql_sees_all_that_was_put(store: Any) -> None:
    store.put(0, b"a", row(1, "x"))
    assert await store.read(0, "select text from texts where key = ?", (b"a",)) == [("x",)]


async def test_sql_cannot_write(store: Any) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await store.read(0, "delete from rows")


async def test_a_query_without_end_is_stopped(store: Any) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    reading = asyncio.create_task(store.read(0, endless, seconds=1))
    await asyncio.sleep(0.05)
    store._owner.clock.move(2)
    with pytest.raises(Unavailable, match="took longer than 1 s"):
        await reading


async def test_changelog_records_are_applied_with_their_offset(store: Any) -> None:
    store.apply(0, [Record(3, b"a", row(1, "x")), Record(4, b"b", row(1, "y")), Record(7, b"a", None)])
    assert store.persisted_offset(ZERO) == 7
    assert await store.read(0, "select key from rows") == [(b"b",)]
    assert store.persisted_offset(ONE) is None


async def test_what_retention_has_taken_does_not_come_back(store: Any) -> None:
    now = int(store._owner.clock.now() * 1000)
    old, young = Record(1, b"a", row(1, "x"), now - 100_001), Record(2, b"b", row(1, "y"), now - 99_000)
    store.apply(0, [old, young, Record(3, b"c", row(1, "z"), now - 200_000)])
    assert await store.read(0, "select key from rows") == [(b"b",)]
    assert store.persisted_offset(ZERO) == 3


async def test_an_unreadable_row_of_the_changelog_ends_the_worker(store: Any) -> None:
    with pytest.raises(Ended, match="the store of table counts failed"):
        store.apply(0, [Record(1, b"a", b"garbage")])
    store._files[0]._buffer.clear()


async def test_an_error_of_the_disk_ends_the_worker(store: Any, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "counts" / "0.db")
    db.execute("drop table texts")
    db.close()
    store.put(0, b"a", row(1, "x"))
    with pytest.raises(Ended, match="no such table: texts"):
        store._commit()
    store._files[0]._buffer.clear()


async def test_an_error_while_opening_ends_the_worker(store: Any, tmp_path: Path) -> None:
    (tmp_path / "counts" / "5.db").mkdir()
    with pytest.raises(Ended, match="unable to open"):
        await hold(store, TP(CHANGELOG, 5))


async def test_rebuilding_sets_the_file_aside(store: Any, tmp_path: Path) -> None:
    store.apply(0, [Record(3, b"a", row(1, "x"))])
    await store.rebuild(0, "another changelog")
    assert store.persisted_offset(ZERO) is None
    assert store.read_row(0, b"a") is None
    assert (tmp_path / "counts" / "0.db.damaged-1").exists()


async def test_the_mapping_is_read_only(store: Any) -> None:
    store.put(0, b"a", row(1, "x"))
    store.put(1, b"b", row(1, "y"))
    assert sorted(store._iteritems()) == [(b"a", row(1, "x")), (b"b", row(1, "y"))]
    assert sorted(store._iterkeys()) == [b"a", b"b"]
    assert sorted(store._itervalues()) == [row(1, "x"), row(1, "y")]
    assert (store._size(), store._contains(b"b"), store._contains(b"c")) == (2, True, False)
    for write in (lambda: store._set(b"a", b""), lambda: store._del(b"a"), store._clear):
        with pytest.raises(NotImplementedError):
            write()


async def test_reset_removes_the_files(tmp_path: Path) -> None:
    made: Any = Store("sqlite://", Host(tmp_path), Owner())  # type: ignore[arg-type]
    await hold(made, ZERO)
    await made.on_stop()
    made.reset_state()
    assert not (tmp_path / "counts").exists()
