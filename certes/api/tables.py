"""`/api/tables`: every table and every kind of configuration entry, as they are, whichever worker has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from certes.api import events, keys, sources
from certes.api.listing import Listing, milliseconds, page_of
from certes.api.paging import Item, Paging, Rank
from certes.api.ports import Tables
from certes.api.rendering import backoff_json, delivery_json, queue_json
from certes.api.view import ApiView, answer
from certes.config import Entry, Kind
from certes.errors import NotFound

#: A table of rows: how to list those under a key, or all.
Rows = Callable[[Tables, str | None], Listing]


def backoffs(tables: Tables, subscription: str | None) -> Listing:
    async def read(partition: int, after: Rank | None, limit: int) -> list[Item]:
        begin = _within(partition, after, (partition, ""))
        if begin is None:
            return []
        rows = await tables.backoffs(partition, subscription=subscription, after=begin[1], limit=limit)
        return [backoff_json(row, partition) for row in rows]

    return Listing((int, str), lambda item: (item["partition"], item["subscription"]), read)


def deliveries(tables: Tables, event: str | None) -> Listing:
    async def read(partition: int, after: Rank | None, limit: int) -> list[Item]:
        begin = _within(partition, after, (partition, "", ""))
        if begin is None:
            return []
        lines = await tables.deliveries(partition, event=event, after=(begin[1], begin[2]), limit=limit)
        return [delivery_json(line, partition) for line in lines]

    return Listing((int, str, str), lambda item: (item["partition"], item["event"], item["subscription"]), read)


def due(tables: Tables, subscription: str | None) -> Listing:
    async def read(partition: int, after: Rank | None, limit: int) -> list[Item]:
        lines = await tables.due(partition, subscription=subscription, after=after, limit=limit)
        return [delivery_json(line, partition) for line in lines]

    def rank(item: Item) -> Rank:
        return (-item["priority"], milliseconds(item["due"]), item["event"], item["subscription"])

    return Listing((int, int, str, str), rank, read)


def priorities(tables: Tables, priority: str | None) -> Listing:
    async def read(partition: int, after: Rank | None, limit: int) -> list[Item]:  # noqa: ARG001 - ten lines at most
        lines = [line for line in await tables.queue(partition) if priority in (None, str(line.priority))]
        return [{"partition": partition, **queue_json(line)} for line in lines]

    return Listing((int, int), lambda item: (-item["priority"], item["partition"]), read)


ROWS: Mapping[str, Rows] = {"backoffs": backoffs, "deliveries": deliveries, "due": due, "priorities": priorities}
EVENTS = "events"


def _masked(entry: Entry) -> Item:
    return {**entry.value, "secrets": [sources.MASK] * len(entry.value["secrets"])}


def _as_it_is(entry: Entry) -> Item:
    return dict(entry.value)


#: Kinds of entries by the name of their table, and how they are shown: without secrets.
ENTRIES: Mapping[str, tuple[Kind, Callable[[Entry], Item]]] = {
    "subscriptions": ("subscription", _masked),
    "sources": ("source", sources.public),
    "priority_rules": ("priority", _as_it_is),
    "backoff_rules": ("backoff", _as_it_is),
    "keys": ("key", keys.public),
    "members": ("member", _as_it_is),
    "config": ("config", _as_it_is),
}


class _TableView(ApiView):
    resource = "config"

    def entries(self, table: str) -> dict[str, Item]:
        kind, show = ENTRIES[table]
        found = self.deps.config_log.config.entries[kind]
        return {name: {"key": name, "offset": entry.offset, **show(entry)} for name, entry in found.items()}

    def unknown(self, table: str) -> NotFound:
        names = ", ".join(sorted({EVENTS, *ROWS, *ENTRIES}))
        return NotFound(f"there is no table {table[:64]}: there are {names}")


class TableList(_TableView):
    async def get(self) -> web.Response:
        names = [{"name": name} for name in (EVENTS, *ROWS, *ENTRIES)]
        return answer(Paging.of(self.request.query, (str,)).page(names, lambda item: (item["name"],)))


class OneTable(_TableView):
    async def get(self) -> web.Response:
        table = self.request.match_info["table"]
        if table == EVENTS:
            return answer(await page_of(self, events.listing(self)))
        if table in ROWS:
            return answer(await page_of(self, ROWS[table](self.deps.tables, None)))
        if table not in ENTRIES:
            raise self.unknown(table)
        paging = Paging.of(self.request.query, (str,))
        return answer(paging.page(self.entries(table).values(), lambda item: (item["key"],)))


class OneRow(_TableView):
    """An entry by its name; of a table that has several rows under a key, the list of them."""

    async def get(self) -> web.Response:
        table, key = self.request.match_info["table"], self.request.match_info["key"]
        if table in ROWS:
            return answer(await page_of(self, ROWS[table](self.deps.tables, key)))
        if table not in ENTRIES:
            raise self.unknown(table)
        entry = self.entries(table).get(key)
        if entry is None:
            raise NotFound(f"table {table} has no row {key[:128]}")
        return answer(entry)


class EventRowView(events.OneEvent):
    """A row of table `events`, which is an event."""

    resource = "config"


def _within(partition: int, after: Rank | None, first: Rank) -> Rank | None:
    """Where a partition begins when partitions follow one another; None: all of it has been shown."""
    if after is None or after[0] < partition:
        return first
    return after if after[0] == partition else None
