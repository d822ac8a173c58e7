"""The views on real SQLite files, written by the store as the fold writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from certes import backoffs as backoff_rows
from certes import event
from certes.api.ports import DeliveryLine, EventQuery, QueueLine
from certes.backoffs import BackoffRow
from certes.clock import FrozenClock
from certes.errors import Unavailable
from certes.event import EventRow
from tables.backoffs import BackoffsProjection
from tables.events import EventsProjection
from tables.projection import Projection
from tables.store import Store
from tables.views import TableViews
from tests.apps.ended import end
from tests.apps.master import NOW_MS, MemoryTable, delivery, row

ALL = EventQuery()


class Owner:
    retention_seconds = 1e9

    def __init__(self, name: str, projection: Projection) -> None:
        self.name = name
        self.projection = projection
        self.clock = FrozenClock()
        self.changelog_topic_name = f"{name}-changelog"


class Host:
    die = staticmethod(end)

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir


class Files:
    """A table's store, as `tables.table.Table` gives it."""

    def __init__(self, data_dir: Path, *, name: str, projection: Projection) -> None:
        self.store: Any = Store("sqlite://", Host(data_dir), Owner(name, projection))  # type: ignore[arg-type]
        self._tp = TP(f"{name}-changelog", 0)

    async def open(self) -> None:
        await self.store.on_rebalance({self._tp}, set(), set())

    async def query(self, partition: int, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return await self.store.read(partition, sql, params)  # type: ignore[no-any-return]


def views_of(events: Any, backoffs: Any) -> TableViews:
    async def last(_: int) -> int:
        return 7

    return TableViews(events=events, backoffs=backoffs, owned=lambda: frozenset({0}), folded=lambda _: 6, end=last)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[tuple[Files, Files]]:
    made = (
        Files(tmp_path, name="events", projection=EventsProjection()),
        Files(tmp_path, name="backoffs", projection=BackoffsProjection()),
    )
    for one in made:
        await one.open()
    yield made
    for one in made:
        await one.store.on_stop()


@pytest.fixture
def views(files: tuple[Files, Files]) -> TableViews:
    return views_of(*files)


@pytest.fixture
def put(files: tuple[Files, Files]) -> Any:
    def put(*rows: EventRow) -> None:
        for one in rows:
            files[0].store.put(0, one.id.encode(), event.dump(one))

    return put


async def test_what_was_just_put_is_read(views: TableViews, put: Any) -> None:
    put(row(1))
    assert await views.event(0, row(1).id) == row(1)
    assert await views.event(0, row(2).id) is None


async def test_a_row_is_listed_as_it_was_put_last(views: TableViews, put: Any) -> None:
    put(row(1, deliveries=(delivery(),)), row(1, applied=5, deliveries=(delivery(state="delivered"),)))
    assert [one.state for one in await views.events(0, ALL, before=None, limit=10)] == ["delivered"]
    assert await views.due(0, subscription=None, after=None, limit=10) == []
    assert await views.states(0) == {"delivered": 1}


async def test_newest_first_from_a_place(views: TableViews, put: Any) -> None:
    put(*(row(number, received_at=NOW_MS + number // 3) for number in range(9)))
    first = await views.events(0, ALL, before=None, limit=4)
    rest = await views.events(0, ALL, before=(first[-1].received_at, first[-1].offset), limit=9)
    assert [one.offset for one in (*first, *rest)] == list(range(8, -1, -1))


async def test_a_prefix_is_a_prefix_of_parts(views: TableViews, put: Any) -> None:
    uris = ("a.dev/x/1/y", "a.dev/x-y/1/z", "a.dev/x/z/1/y", "a.dev/xx/1/y", "b.dev/x/1/y")
    put(*(row(number, uri=uri) for number, uri in enumerate(uris)))
    found = await views.events(0, EventQuery(uri="a.dev/x/*"), before=None, limit=10)
    assert [one.uri for one in found] == ["a.dev/x/z/1/y", "a.dev/x/1/y"]


async def test_what_is_searched_for_is_no_pattern(views: TableViews, put: Any) -> None:
    put(row(1, source="100%"), row(2, source="100x"))
    found = await views.events(0, EventQuery(q="100%"), before=None, limit=10)
    assert [one.offset for one in found] == [1]


async def test_the_queue(views: TableViews, put: Any) -> None:
    put(
        row(1, deliveries=(delivery("a", priority=9, due=5), delivery("b", priority=9, state="waiting", due=3))),
        row(2, deliveries=(delivery("a", priority=1, due=2), delivery("b", priority=0, state="delivered"))),
    )
    assert await views.queue(0) == [QueueLine(9, 1, 1, 3), QueueLine(1, 1, 0, 2)]
    due = await views.due(0, subscription=None, after=None, limit=10)
    assert [(one.priority, one.due) for one in due] == [(9, 3), (9, 5), (1, 2)]
    assert [one.due for one in await views.due(0, subscription="a", after=None, limit=10)] == [5, 2]


async def test_backoffs(views: TableViews, files: tuple[Files, Files]) -> None:
    rows = [BackoffRow(v=1, subscription=name, applied=3, failures=2) for name in ("sub_a", "sub_b", "sub_c")]
    for one in rows:
        files[1].store.put(0, one.subscription.encode(), backoff_rows.dump(one))
    assert await views.backoffs(0, subscription=None, after="", limit=2) == rows[:2]
    assert await views.backoffs(0, subscription=None, after="sub_b", limit=2) == rows[2:]
    assert await views.backoffs(0, subscription="sub_b", after="", limit=2) == rows[1:2]


async def test_a_partition_that_is_not_here(views: TableViews) -> None:
    with pytest.raises(Unavailable):
        await views.queue(3)


async def test_places(views: TableViews) -> None:
    assert (views.partitions, views.folded(0), await views.end(0)) == (frozenset({0}), 6, 7)


LINES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("abc"), st.sampled_from(["pending", "waiting", "delivered"])),
    max_size=8, unique_by=lambda line: line[2],
)  # fmt: skip


@given(events=st.lists(LINES, max_size=5), limit=st.integers(1, 3))
async def test_due_and_deliveries_in_pages_are_complete(events: list[list[Any]], limit: int) -> None:
    table = MemoryTable(EventsProjection(), [0])
    for number, lines in enumerate(events):
        made = row(
            number, deliveries=tuple(delivery(name, state, priority=p, due=due) for p, due, name, state in lines)
        )
        table.put(0, made.id.encode(), event.dump(made))
    views = views_of(table, table)
    due: list[DeliveryLine] = []
    while page := await views.due(0, subscription=None, after=_due_rank(due), limit=limit):
        due += page
    every: list[DeliveryLine] = []
    while page := await views.deliveries(
        0, event=None, after=(every[-1].event, every[-1].subscription) if every else ("", ""), limit=limit
    ):
        every += page
    assert len(every) == sum(map(len, events))
    assert every == sorted(every, key=lambda one: (one.event, one.subscription))
    assert due == sorted(
        (one for one in every if one.state != "delivered"),
        key=lambda one: (-one.priority, one.due, one.event, one.subscription),
    )


def _due_rank(lines: list[DeliveryLine]) -> tuple[int, int, str, str] | None:
    last = lines[-1] if lines else None
    return None if last is None else (-last.priority, last.due, last.event, last.subscription)


async def test_lists_come_out_of_indexes(views: TableViews, files: tuple[Files, Files], monkeypatch: Any) -> None:
    """Nothing that is asked for all the time may read a whole table."""
    plans: list[str] = []
    query = files[0].query

    async def explained(partition: int, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        plans.extend(line[3] for line in await query(partition, f"EXPLAIN QUERY PLAN {sql}", params))
        return []

    monkeypatch.setattr(files[0], "query", explained)
    await views.events(0, EventQuery(state="failed"), before=(1, 1), limit=10)
    await views.events(0, EventQuery(uri="a.dev/x/1/y"), before=None, limit=10)
    await views.events(0, ALL, before=(1, 1), limit=10)
    await views.due(0, subscription=None, after=None, limit=10)
    await views.queue(0)
    scanned = [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan]
    assert plans
    assert scanned == []
