"""The consumer agent: takes what is due from the mailbox, calls the handler, puts the outcome on the log.

Many actors of one Faust agent iterate over one channel, whose items are the best due deliveries of the moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import faust
import orjson
from faust.types import AppT

from agents.outbox import Outbox
from certes import event
from certes.admission import is_avro
from certes.attempt import Answer, Body, closed, prepare, settle
from certes.clock import Clock
from certes.config import Config
from certes.delivery import Delivery, Outcome
from certes.errors import Gone, Unavailable
from certes.event import EventRow
from certes.mailbox import Item, Mailbox
from certes.payloads import Payloads
from certes.records import AVRO, JSON
from certes.registry.framing import unframe
from certes.registry.schema import Schema
from certes.sender import Sender
from certes.subscription import StoredSubscription
from certes.tracing import correlation_id

logger = logging.getLogger(__name__)

#: Before a delivery is given back that could not even be prepared, e.g. while Kafka does not answer.
PAUSE_SECONDS = 1.0
#: What an attempt may take beyond its own time-out before its actor is taken for stuck.
GRACE_SECONDS = 15.0
GONE = 410


class Letters(faust.Channel[Any]):
    """The mailbox as a channel. Items are dealt to waiting actors when they become due, best first.

    `floor` answers the lowest priority that may start now: while the fold is behind, only the top ones do.
    """

    def __init__(self, app: AppT, *, mailbox: Mailbox, clock: Clock, floor: Callable[[], int]) -> None:
        super().__init__(app, is_iterator=True)
        self._mailbox = mailbox
        self._clock = clock
        self._floor = floor
        self._waiting: deque[asyncio.Future[Item]] = deque()
        self._dealing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def clone(self, **_kwargs: Any) -> Letters:
        """All actors share the one channel; Faust would give each a copy with a queue of its own."""
        return self

    def __aiter__(self) -> Letters:
        return self

    async def __anext__(self) -> Item:  # type: ignore[override]  # a channel may carry anything, not only events
        waiter: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.deal_soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._mailbox.release(waiter.result())
                self._mailbox.give_back(waiter.result())
            raise

    def stop(self) -> None:
        """Deal no more: the worker is stopping."""
        self._stopped = True

    def deal_soon(self) -> None:
        """Something may have become takeable. Many calls in one turn of the event loop lead to one round."""
        if self._dealing is None and self._waiting:
            self._dealing = asyncio.get_running_loop().call_soon(self._deal)

    def _deal(self) -> None:
        self._dealing = None
        if self._stopped:
            return
        now = round(self._clock.now() * 1000)
        floor = self._floor()
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.done():  # its actor was cancelled
                self._waiting.popleft()
                continue
            item = self._mailbox.take(now, at_least=floor)
            if item is None:
                self._wait_for_due(now, again=floor > 0)
                return
            self._waiting.popleft().set_result(item)

    def _wait_for_due(self, now: int, *, again: bool) -> None:
        due = self._mailbox.next_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = [] if due is None else [max(due - now, 1) / 1000]
        if again:
            wait.append(0.02)
        if wait:
            # Not longer than a second: the clock may be moved.
            self._timer = asyncio.get_running_loop().call_later(min(*wait, 1.0), self.deal_soon)


class SchemaSource(Protocol):
    async def by_id(self, schema_id: int) -> Schema: ...


class Consumer:
    """One attempt from the item to the outcome. `row_of` reads a row, None when its partition has left."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        outbox: Outbox,
        payloads: Payloads,
        schemas: SchemaSource,
        sender: Sender,
        clock: Clock,
        config: Callable[[], Config],
        row_of: Callable[[int, str], bytes | None],
        disable: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._mailbox = mailbox
        self._outbox = outbox
        self._payloads = payloads
        self._schemas = schemas
        self._sender = sender
        self._clock = clock
        self._config = config
        self._row_of = row_of
        self._disable = disable

    async def deliver(self, item: Item) -> None:
        """Call the handler and put the outcome on the log. What does not get that far is given back."""
        outcome: Outcome | None = None
        settled = False
        try:
            outcome = await self._released(item)
            if outcome is not None:
                await self._outbox.post(item.partition, outcome)
            # Without an outcome the delivery is not as the mailbox thought: the fold will say.
            settled = True
        except Unavailable as error:
            logger.warning("delivery of %s waits: %s", item.event, error, extra={"action": "deliver"})
            await asyncio.sleep(PAUSE_SECONDS)
        except asyncio.CancelledError:
            # An outcome that the outbox has is sent, whoever gives up waiting for it.
            settled = outcome is not None
            raise
        finally:
            if not settled:
                self._mailbox.give_back(item)

    async def _released(self, item: Item) -> Outcome | None:
        """The attempt; its subscription has room again when the call has ended, not when the outcome is on the log."""
        try:
            return await self._attempt(item)
        finally:
            self._mailbox.release(item)

    async def _attempt(self, item: Item) -> Outcome | None:
        stored = self._row_of(item.partition, item.event)
        row = event.load(stored) if stored is not None else None
        delivery = row.delivery(item.subscription) if row is not None else None
        if row is None or delivery is None or not _waits_for(delivery, item):
            return None
        try:
            return await self._outcome(row, delivery)
        except Unavailable:
            raise
        except Exception as error:
            # An error of ours counts as a failed attempt: the event stays visible, and is not tried in a hot loop.
            logger.exception("delivery of %s to %s failed", row.id, item.subscription, extra={"action": "deliver"})
            answer = Answer(error=f"internal error: {type(error).__name__}")
            return settle(row, delivery, answer, at=self._now_ms(), duration_ms=0, roll=0.5, trace="")

    async def _outcome(self, row: EventRow, delivery: Delivery) -> Outcome:
        subscription = self._config().subscriptions.get(delivery.subscription)
        if subscription is None:
            reason = "the subscription was deleted"
            return closed(row, delivery, state="cancelled", reason=reason, at=self._now_ms())
        try:
            body = await self._body(row, subscription)
        except Gone as error:
            return closed(row, delivery, state="expired", reason=str(error), at=self._now_ms())
        return await self._call(row, delivery, subscription, body)

    async def _call(self, row: EventRow, delivery: Delivery, subscription: StoredSubscription, body: Body) -> Outcome:
        trace = correlation_id("ec")
        at, began = self._now_ms(), self._clock.monotonic()
        call = prepare(row, delivery, subscription, body=body, trace=trace, now=self._clock.now())
        try:
            async with asyncio.timeout(call.timeout + GRACE_SECONDS):
                answer = await self._sender.send(call)
        except TimeoutError:
            answer = Answer(error="the call did not end")
        took = round((self._clock.monotonic() - began) * 1000)
        if answer.status == GONE:
            await self._gone(subscription.id)
        roll = random.random()  # noqa: S311 - jitter, no secret
        return settle(row, delivery, answer, at=at, duration_ms=took, roll=roll, trace=trace)

    async def _gone(self, subscription: str) -> None:
        try:
            await self._disable(subscription, "its handler answered 410 Gone")
        except Unavailable as error:
            # The call was made and counts; the next answer of 410 tries again.
            logger.warning("subscription %s stays enabled: %s", subscription, error, extra={"action": "disable"})

    async def _body(self, row: EventRow, subscription: StoredSubscription) -> Body:
        value = await self._payloads.value(row)
        if not is_avro(row.content_type, value):
            return Body(value, row.content_type or JSON)
        if subscription.spec.format == "avro":
            return Body(value, AVRO)
        schema_id, body = unframe(value)
        schema = await self._schemas.by_id(schema_id)
        return Body(orjson.dumps(schema.to_json(schema.decode(body))), JSON)

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)


def _waits_for(delivery: Delivery, item: Item) -> bool:
    return delivery.open and (delivery.epoch, delivery.attempt) == (item.epoch, item.attempt)


async def consume(letters: Any, consumer: Consumer) -> None:
    """The body of each actor."""
    async for item in letters:
        await consumer.deliver(item)
