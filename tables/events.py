"""Table `events`: one row per event, and what SQL sees of it: the events and their deliveries."""

from __future__ import annotations

from collections.abc import Iterator

from certes import event
from certes.delivery import Delivery
from certes.event import EventRow
from certes.mailbox import Item
from tables.projection import Params, Projected, View

NAME = "events"

_EVENTS = View(
    ddl="""
        CREATE TABLE IF NOT EXISTS events (
            key BLOB PRIMARY KEY, "offset" INTEGER NOT NULL, received_at INTEGER NOT NULL,
            uri TEXT, source TEXT NOT NULL, state TEXT NOT NULL, reason TEXT
        ) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS events_by_time ON events (received_at, "offset");
        CREATE INDEX IF NOT EXISTS events_by_state ON events (state, received_at);
        CREATE INDEX IF NOT EXISTS events_by_uri ON events (uri, received_at);
        CREATE INDEX IF NOT EXISTS events_unfinished ON events (key) WHERE state IN ('delivering', 'accepted');
    """,
    delete="DELETE FROM events WHERE key = ?",
    insert="INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
)

_DELIVERIES = View(
    ddl="""
        CREATE TABLE IF NOT EXISTS deliveries (
            event TEXT NOT NULL, subscription TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
            due INTEGER NOT NULL, attempt INTEGER NOT NULL, epoch INTEGER NOT NULL, error TEXT,
            PRIMARY KEY (event, subscription)
        ) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS deliveries_by_subscription ON deliveries (subscription, state);
        CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (priority, due) WHERE state IN ('pending', 'waiting');
    """,
    delete="DELETE FROM deliveries WHERE event = CAST(? AS TEXT)",
    insert="INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
)


class EventsProjection:
    """Deliveries of a row are only ever added or replaced, so nothing needs deleting before a write."""

    @property
    def views(self) -> tuple[View, ...]:
        return (_EVENTS, _DELIVERIES)

    def project(self, key: bytes, value: bytes) -> Projected:  # noqa: ARG002 - the row has its key
        row = event.load(value)
        return Projected(row.applied, ([_event(row)], [_delivery(row, one) for one in row.deliveries]))


def _event(row: EventRow) -> Params:
    reason = row.errors[0].reason if row.errors else None
    return (row.id.encode(), row.offset, row.received_at, row.uri, row.source, row.state, reason)


def _delivery(row: EventRow, one: Delivery) -> Params:
    error = one.attempts[-1].error if one.attempts else None
    return (row.id, one.subscription, one.state, one.priority, one.due, one.attempt, one.epoch, error)


#: Rows that are not over, in pages: those due for delivery, and those that wait for their schema. Takes (after, limit).
#: The index is named because SQLite would rather sort all of them again for each page.
UNFINISHED = """
    SELECT rows.key, rows.value FROM events INDEXED BY events_unfinished JOIN rows ON rows.key = events.key
    WHERE events.state IN ('delivering', 'accepted') AND events.key > ?
    ORDER BY events.key LIMIT ?
"""


def items(row: EventRow) -> Iterator[Item]:
    """The row's deliveries that are not over, as the mailbox takes them."""
    return (
        Item(row.partition, row.offset, row.id, one.subscription, one.priority, one.due, one.epoch, one.attempt)
        for one in row.deliveries
        if one.open
    )
