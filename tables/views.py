"""Views over the tables for the Master API: lists, look-ups and counts, as SQL on one partition's files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from certes import backoffs, event
from certes.api.ports import DeliveryLine, EventQuery, QueueLine
from certes.backoffs import BackoffRow
from certes.event import EventRow

_OPEN = "state IN ('pending', 'waiting')"
_DELIVERY = "event, subscription, state, priority, due, attempt, epoch, error"
_HAS_DELIVERY = "EXISTS (SELECT 1 FROM deliveries WHERE event = CAST(e.key AS TEXT) AND {})"
_SEARCHED = ("CAST(e.key AS TEXT)", "e.uri", "e.source", "e.reason")

Condition = tuple[str, tuple[object, ...]]


class Rows(Protocol):
    """A table (`tables.table.Table`): read-only SQL on one partition. Raises Unavailable."""

    async def query(self, partition: int, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...


class TableViews:
    """The tables as the Master API reads them (`certes.api.ports.Tables`).

    `owned` answers the partitions of this worker, `folded` and `end` the places of a partition in the log.
    """

    def __init__(
        self,
        *,
        events: Rows,
        backoffs: Rows,
        owned: Callable[[], frozenset[int]],
        folded: Callable[[int], int],
        end: Callable[[int], Awaitable[int]],
    ) -> None:
        self._events = events
        self._backoffs = backoffs
        self._owned = owned
        self._folded = folded
        self._end = end

    @property
    def partitions(self) -> frozenset[int]:
        return self._owned()

    def folded(self, partition: int) -> int:
        return self._folded(partition)

    async def end(self, partition: int) -> int:
        return await self._end(partition)

    async def event(self, partition: int, identifier: str) -> EventRow | None:
        found = await self._events.query(partition, "SELECT value FROM rows WHERE key = ?", (identifier.encode(),))
        return event.load(found[0][0]) if found else None

    async def events(
        self, partition: int, query: EventQuery, *, before: tuple[int, int] | None, limit: int
    ) -> Sequence[EventRow]:
        conditions = _conditions(query)
        if before is not None:
            conditions.append(('(e.received_at, e."offset") < (?, ?)', before))
        where, params = _where(conditions)
        sql = f"""SELECT value FROM events AS e JOIN rows USING (key) {where}
            ORDER BY e.received_at DESC, e."offset" DESC LIMIT ?"""  # noqa: S608 - fixed texts, values are parameters
        return [event.load(value) for (value,) in await self._events.query(partition, sql, (*params, limit))]

    async def backoffs(
        self, partition: int, *, subscription: str | None, after: str, limit: int
    ) -> Sequence[BackoffRow]:
        conditions: list[Condition] = [("key > ?", (after.encode(),))]
        if subscription is not None:
            conditions.append(("key = ?", (subscription.encode(),)))
        where, params = _where(conditions)
        sql = f"SELECT value FROM rows {where} ORDER BY key LIMIT ?"  # noqa: S608 - fixed texts, values are parameters
        return [backoffs.load(value) for (value,) in await self._backoffs.query(partition, sql, (*params, limit))]

    async def deliveries(
        self, partition: int, *, event: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[DeliveryLine]:
        conditions: list[Condition] = [("(event, subscription) > (?, ?)", after)]
        if event is not None:
            conditions.append(("event = ?", (event,)))
        return await self._lines(partition, conditions, order="event, subscription", limit=limit)

    async def due(
        self, partition: int, *, subscription: str | None, after: tuple[int, int, str, str] | None, limit: int
    ) -> Sequence[DeliveryLine]:
        conditions: list[Condition] = [(_OPEN, ())]
        if subscription is not None:
            conditions.append(("subscription = ?", (subscription,)))
        if after is not None:
            # The first half lets SQLite begin in the index.
            conditions.append(
                ("priority <= ? AND (-priority, due, event, subscription) > (?, ?, ?, ?)", (-after[0], *after))
            )
        return await self._lines(partition, conditions, order="priority DESC, due, event, subscription", limit=limit)

    async def queue(self, partition: int) -> Sequence[QueueLine]:
        sql = f"""SELECT priority, SUM(state = 'pending'), SUM(state = 'waiting'), MIN(due) FROM deliveries
            WHERE {_OPEN} GROUP BY priority ORDER BY priority DESC"""  # noqa: S608 - fixed texts
        return [QueueLine(*line) for line in await self._events.query(partition, sql)]

    async def states(self, partition: int) -> Mapping[str, int]:
        return dict(await self._events.query(partition, "SELECT state, COUNT(*) FROM events GROUP BY state"))

    async def _lines(
        self, partition: int, conditions: list[Condition], *, order: str, limit: int
    ) -> Sequence[DeliveryLine]:
        where, params = _where(conditions)
        sql = f"SELECT {_DELIVERY} FROM deliveries {where} ORDER BY {order} LIMIT ?"  # noqa: S608 - fixed texts
        return [DeliveryLine(*line) for line in await self._events.query(partition, sql, (*params, limit))]


def _conditions(query: EventQuery) -> list[Condition]:
    plain: list[tuple[str, object]] = [
        ("e.state = ?", query.state),
        ("e.source = ?", query.source),
        ("e.received_at >= ?", query.since),
        ("e.received_at < ?", query.until),
        (_HAS_DELIVERY.format("subscription = ?"), query.subscription),
    ]
    conditions: list[Condition] = [(sql, (value,)) for sql, value in plain if value is not None]
    if query.uri is not None:
        conditions.append(_matches(query.uri))
    if query.q is not None:
        conditions.append(_contains(query.q))
    return conditions


def _matches(uri: str) -> Condition:
    """An event URI, or all under a prefix: from `a.dev/x/` to before `a.dev/x0`, since 0 follows the slash."""
    if not uri.endswith("/*"):
        return "e.uri = ?", (uri,)
    prefix = uri[:-2]
    return "e.uri >= ? AND e.uri < ?", (prefix + "/", prefix + "0")


def _contains(text: str) -> Condition:
    found = [f"instr(lower({column}), lower(?))" for column in _SEARCHED]
    found.append(_HAS_DELIVERY.format("instr(lower(error), lower(?))"))
    return f"({' OR '.join(found)})", (text,) * len(found)


def _where(conditions: Sequence[Condition]) -> tuple[str, tuple[object, ...]]:
    if not conditions:
        return "", ()
    texts = " AND ".join(f"({sql})" for sql, _ in conditions)
    return f"WHERE {texts}", tuple(value for _, values in conditions for value in values)
