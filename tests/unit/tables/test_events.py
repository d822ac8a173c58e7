"""What SQL sees of rows of the tables `events` and `backoffs`, and how what is not over is found again."""

from __future__ import annotations

import sqlite3
from time import perf_counter

import pytest

from certes import backoffs, event
from certes.backoffs import BackoffRow
from certes.delivery import Attempt, Delivery
from certes.event import EventRow, Problem
from certes.mailbox import Item
from tables.backoffs import BackoffsProjection
from tables.events import UNFINISHED, EventsProjection, items
from tables.partition import PartitionFile


def row(identifier="evt_1", state="delivering", *deliveries, applied=5, **kwargs):
    return EventRow(
        v=1, id=identifier, partition=2, offset=3, applied=applied, received_at=7, checksum=0, size=2,
        state=state, source="kafka", uri="a.dev/_/1/x", deliveries=deliveries, **kwargs,
    )  # fmt: skip


def delivery(subscription="sub_1", state="pending", **kwargs):
    return Delivery(subscription, state, **{"priority": 4, "due": 100, "since": 50, **kwargs})


@pytest.fixture
def file(tmp_path):
    made = PartitionFile(tmp_path / "0.db", EventsProjection())
    yield made
    made.close()


def put(file, *rows):
    for one in rows:
        file.put(one.id.encode(), event.dump(one))
    file.commit()


def select(file, sql, params=()):
    with sqlite3.connect(file.path) as db:
        found = db.execute(sql, params).fetchall()
    db.close()
    return found


def test_an_event_and_its_deliveries_are_rows_of_their_own(file):
    failed = Attempt(1, 1, 60, 5, 9, error="answered 500")
    put(file, row("evt_1", "delivering", delivery(), delivery("sub_2", "waiting", attempt=1, attempts=(failed,))))
    put(file, row("evt_2", "rejected", errors=(Problem("no number"), Problem("no text"))))
    assert select(file, 'select key, "offset", received_at, uri, source, state, reason from events order by key') == [
        (b"evt_1", 3, 7, "a.dev/_/1/x", "kafka", "delivering", None),
        (b"evt_2", 3, 7, "a.dev/_/1/x", "kafka", "rejected", "no number"),
    ]
    assert select(file, "select * from deliveries order by subscription") == [
        ("evt_1", "sub_1", "pending", 4, 100, 0, 1, None),
        ("evt_1", "sub_2", "waiting", 4, 100, 1, 1, "answered 500"),
    ]


def test_they_follow_the_row(file):
    put(file, row("evt_1", "accepted"))
    put(file, row("evt_1", "delivering", delivery(), applied=6))
    put(file, row("evt_1", "delivered", delivery(state="delivered", attempt=1), applied=7))
    put(file, row("evt_1", "delivering", delivery(), applied=6))  # a stale one
    assert select(file, "select state from events") == [("delivered",)]
    assert select(file, "select state, attempt from deliveries") == [("delivered", 1)]
    file.put(b"evt_1", None)
    file.commit()
    assert select(file, "select * from events") == select(file, "select * from deliveries") == []


def unfinished(file, page=2):
    found, after = [], b""
    while True:
        rows = select(file, UNFINISHED, (after, page))
        found += [event.load(value).id for _, value in rows]
        if len(rows) < page:
            return found
        after = rows[-1][0]


def test_what_is_not_over_is_found_in_pages(file):
    states = ["accepted", "rejected", "unrouted", "delivering", "failed", "cancelled", "delivered"]
    put(file, *[row(f"evt_{number}", state) for number, state in enumerate(states * 3)])
    assert sorted(unfinished(file)) == sorted(f"evt_{number}" for number in (0, 3, 7, 10, 14, 17))


def test_finding_it_takes_each_row_once(file):
    """A worker that takes a partition over finds what waits by this: it must not sort it all again for each page."""
    plan = " ".join(detail for *_, detail in select(file, f"explain query plan {UNFINISHED}", (b"", 10)))
    assert "TEMP B-TREE" not in plan
    assert "SUBQUERY" not in plan
    put(file, *[row(f"evt_{number}") for number in range(5_000)])
    began = perf_counter()
    assert len(unfinished(file, page=500)) == 5_000
    assert perf_counter() - began < 2


def test_the_mailbox_gets_what_is_open():
    one = row(
        "evt_1",
        "delivering",
        delivery(),
        delivery("sub_2", "delivered"),
        delivery("sub_3", "waiting", attempt=2, epoch=3),
    )
    assert list(items(one)) == [
        Item(2, 3, "evt_1", "sub_1", 4, 100, 1, 0),
        Item(2, 3, "evt_1", "sub_3", 4, 100, 3, 2),
    ]


@pytest.mark.parametrize("projection", [EventsProjection(), BackoffsProjection()])
def test_what_is_no_row_is_a_value_error(projection):
    for value in (b"", b"{}", b"no row"):
        with pytest.raises(ValueError):
            projection.project(b"k", value)


def test_back_offs_are_ordered_by_what_was_applied():
    stored = backoffs.dump(BackoffRow(v=1, subscription="sub_1", applied=9, failures=2))
    assert BackoffsProjection().project(b"sub_1", stored).applied == 9
    assert BackoffsProjection().views == ()
