"""`/api/events`: what came in, and what became of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from certes.api.folded import place, wait_until_folded
from certes.api.listing import Listing, milliseconds, page_of
from certes.api.paging import Item, Rank
from certes.api.queries import event_query
from certes.api.rendering import Responses, attempts_json, event_json
from certes.api.view import ApiView, answer
from certes.delivery import Attempt, Delivery
from certes.errors import Gone, NotFound, Unavailable
from certes.event import EventRow, partition_of

#: An event for hundreds of subscriptions shows the answers of its latest attempts only.
MAX_RESPONSES = 100
RESPONSES_SECONDS = 2.0
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64}(;[\x20-\x7e]{0,128})?\Z", re.ASCII)


class EventView(ApiView):
    resource = "events"

    async def wait_for_position(self) -> None:
        """`?after=partition/offset`: wait until it is folded, when it is a partition of this worker."""
        if "after" in self.request.query:
            partition, offset = place(self.request.query["after"])
            if partition in self.deps.tables.partitions:
                await wait_until_folded(self.deps.tables, partition, offset)


class EventList(EventView):
    async def get(self) -> web.Response:
        await self.wait_for_position()
        return answer(await page_of(self, listing(self)))


def listing(view: ApiView) -> Listing:
    """Events, newest first, filtered by the request's query."""
    query = event_query(view.request.query)

    async def read(partition: int, after: Rank | None, limit: int) -> list[Item]:
        before = None if after is None else _before(after, partition)
        rows = await view.deps.tables.events(partition, query, before=before, limit=limit)
        return [event_json(row) for row in rows]

    return Listing((int, int, int), _rank, read)


def _rank(item: Item) -> Rank:
    return (-milliseconds(item["received_at"]), -item["partition"], -item["offset"])


def _before(after: Rank, partition: int) -> tuple[int, int]:
    """The place in one partition from which on everything comes after a rank: of equal times, partitions descend."""
    received_at, last = -after[0], -after[1]
    if partition == last:
        return received_at, -after[2]
    return (received_at, 0) if partition > last else (received_at + 1, 0)


class OneEventView(EventView):
    """A view of one event, answered by the worker that owns its partition."""

    @property
    def id(self) -> str:
        return self.request.match_info["id"]

    async def here_or_there(self, respond: Callable[[EventRow], Awaitable[web.Response]]) -> web.Response:
        partition = partition_of(self.id)
        if partition >= self.deps.settings.log.partitions:
            raise self._unknown()
        if partition in self.deps.tables.partitions:
            await self.wait_for_position()
            return await respond(await self._row(partition))
        if self.caller.hop:
            raise Unavailable(f"partition {partition} of the log is changing its worker; ask again")
        return await self.pass_on(partition)

    async def _row(self, partition: int) -> EventRow:
        """The row. What was published a moment ago may lie before the fold: then, and only then, it is waited for."""
        row = await self.deps.tables.event(partition, self.id)
        if row is None:
            await wait_until_folded(self.deps.tables, partition, await self.deps.tables.end(partition))
            row = await self.deps.tables.event(partition, self.id)
        if row is None:
            raise self._unknown()
        return row

    def _unknown(self) -> NotFound:
        return NotFound(f"there is no event {self.id}: it never was, or its retention has passed")

    async def responses(self, row: EventRow) -> Responses:
        """Handlers' answers of the latest attempts, without those that are gone or do not come in time."""
        attempts = [(one, attempt) for one in row.deliveries for attempt in one.attempts]
        latest = sorted(attempts, key=lambda pair: -pair[1].at)[:MAX_RESPONSES]
        texts = await asyncio.gather(*(self._response(row, one, attempt) for one, attempt in latest))
        pairs = zip(latest, texts, strict=True)
        return {(one.subscription, a.epoch, a.number): text for (one, a), text in pairs if text is not None}

    async def _response(self, row: EventRow, one: Delivery, attempt: Attempt) -> str | None:
        try:
            async with asyncio.timeout(RESPONSES_SECONDS):
                return await self.deps.payloads.outcome_response(
                    row.partition, attempt.record, event=row.id, subscription=one.subscription, attempt=attempt.number
                )
        except (Gone, Unavailable, TimeoutError):
            return None  # the answer is shown as null; the rest of the event is worth showing without it


class OneEvent(OneEventView):
    async def get(self) -> web.Response:
        return await self.here_or_there(self._show)

    async def _show(self, row: EventRow) -> web.Response:
        return answer(event_json(row, await self.responses(row)))


class Attempts(OneEventView):
    async def get(self) -> web.Response:
        return await self.here_or_there(self._show)

    async def _show(self, row: EventRow) -> web.Response:
        return answer(attempts_json(row, await self.responses(row)))


class Payload(OneEventView):
    async def get(self) -> web.Response:
        return await self.here_or_there(self._show)

    async def _show(self, row: EventRow) -> web.Response:
        content_type = row.content_type or ""
        # It is what some stranger sent, under this origin: no browser may take it for a page of ours.
        headers = {
            "content-type": content_type if _MEDIA_TYPE.match(content_type) else "application/octet-stream",
            "content-disposition": "attachment",
            "content-security-policy": "sandbox",
            "x-content-type-options": "nosniff",
        }
        return web.Response(body=await self.deps.payloads.value(row), headers=headers)
