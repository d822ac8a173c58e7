"""`/api/events/{id}/retry` and `/cancel`: commands for the log. What can be done is checked on the row as it is now;
the fold does it when it comes to the command.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from certes.api.events import OneEventView
from certes.api.view import answer, parse
from certes.command import Command
from certes.delivery import Delivery
from certes.errors import Conflict, NotFound
from certes.event import EventRow
from certes.tracing import correlation_id


class Target(BaseModel):
    """One subscription's delivery, or all of the event."""

    model_config = ConfigDict(extra="forbid")

    subscription: Annotated[str, Field(max_length=256)] | None = None


class _CommandView(OneEventView):
    action: ClassVar[Literal["retry", "cancel"]]

    def check(self, row: EventRow, deliveries: list[Delivery], subscription: str | None) -> None:
        """Raises Conflict when there is nothing to do."""
        raise NotImplementedError

    async def post(self) -> web.Response:
        return await self.here_or_there(self._send)

    async def _send(self, row: EventRow) -> web.Response:
        subscription = parse(Target, await self.document()).subscription
        deliveries = [one for one in row.deliveries if subscription in (None, one.subscription)]
        if subscription is not None and not deliveries:
            raise NotFound(f"event {row.id} has no delivery for the subscription {subscription}")
        self.check(row, deliveries, subscription)
        command = Command(
            action=self.action,
            event=row.id,
            at=round(self.deps.clock.now() * 1000),
            subscription=subscription,
            actor=self.caller.actor.name,
            trace=correlation_id("api"),
        )
        offset = await self.deps.send_command(command)
        running = [one.subscription for one in deliveries if self.deps.is_running(row.id, one.subscription)]
        document = {"id": row.id, "partition": row.partition, "offset": offset, "in_flight": running}
        return answer(document, status=202, headers={"certes-position": f"{row.partition}/{offset}"})


class Retry(_CommandView):
    """Failed and waiting deliveries from the beginning, at once; a delivered one only when it is named."""

    action = "retry"

    def check(self, row: EventRow, deliveries: list[Delivery], subscription: str | None) -> None:
        if not row.deliveries:
            raise Conflict(f"event {row.id} is {row.state} and has no deliveries")
        if subscription is None and all(one.state == "delivered" for one in deliveries):
            raise Conflict(f"event {row.id} is delivered; name the subscription to deliver it again")


class Cancel(_CommandView):
    """Open deliveries end. A call that is going on cannot be stopped: those are named as `in_flight`."""

    action = "cancel"

    def check(self, row: EventRow, deliveries: list[Delivery], subscription: str | None) -> None:  # noqa: ARG002 - as Retry's
        if row.state != "accepted" and not any(one.open for one in deliveries):
            raise Conflict(f"nothing of event {row.id} can be cancelled: it is {row.state}")
