"""Lists over all partitions: this worker reads its own, the others theirs, and the pages are merged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from certes.api.cluster import ASK_SECONDS
from certes.api.folded import WAIT_SECONDS
from certes.api.paging import Item, Paging, Rank, Shape
from certes.api.view import ApiView
from certes.clock import from_rfc3339

#: One partition's items in order: partition, begin after this rank, at most so many.
Read = Callable[[int, Rank | None, int], Awaitable[Sequence[Item]]]


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed: how to read a partition, and the rank of an item, whose types are `shape`."""

    shape: Shape
    rank: Callable[[Item], Rank]
    read: Read


async def page_of(view: ApiView, listing: Listing) -> Item:
    """`{"items", "next"}` out of all partitions, with `missing` when a worker does not answer.

    Another worker that asks is told which partitions this answer covers.
    """
    paging = Paging.of(view.request.query, listing.shape)
    own = sorted(view.deps.tables.partitions)
    local = [item for items in await _read(listing, paging, own) for item in items]
    if view.caller.hop:
        return {**paging.page(local, listing.rank), "partitions": own}
    seconds = ASK_SECONDS + (WAIT_SECONDS if "after" in view.request.query else 0.0)
    answers = await view.cluster.ask_others(view.request, actor=view.caller.actor.name, seconds=seconds)
    more = any(one["next"] is not None for one in answers)
    page = paging.page(_distinct(local, answers, listing), listing.rank, more=more)
    missing = view.cluster.missing({*own, *(partition for one in answers for partition in one["partitions"])})
    return {**page, "missing": missing} if missing else page


async def _read(listing: Listing, paging: Paging, partitions: Sequence[int]) -> list[Sequence[Item]]:
    # One more than asked for says whether there is a next page.
    reads = (listing.read(partition, paging.after, paging.limit + 1) for partition in partitions)
    return await asyncio.gather(*reads)


def _distinct(local: list[Item], answers: list[Item], listing: Listing) -> list[Item]:
    """While a partition moves, two workers may answer for it."""
    items = {listing.rank(item): item for one in answers for item in one["items"]}
    return list((items | {listing.rank(item): item for item in local}).values())


def milliseconds(text: str) -> int:
    """The reverse of how times of rows are shown."""
    return round(from_rfc3339(text) * 1000)
