"""Commands: what somebody asked to be done to an event, as records on the log; and the verdict on an event."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from certes.event import Problem, SchemaRef

Action = Literal["retry", "cancel", "resume"]


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """One subscription that gets the event, with priority and back-off as decided, and the scopes that decided."""

    subscription: str
    priority: int
    ordered: bool = False
    policy: dict[str, Any] | None = None
    rule: tuple[str, str] = ("default", "default")


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the broker decided of an event: rejected when there are `errors`, else routed, perhaps to nobody."""

    uri: str | None = None
    schema: SchemaRef | None = None
    errors: tuple[Problem, ...] = ()
    routes: tuple[Route, ...] = ()

    @classmethod
    def failed(cls, error: Exception) -> Verdict:
        """On an event that hit an error of ours: it stays visible."""
        return cls(errors=(Problem(f"internal error while it was validated or routed: {type(error).__name__}"),))


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """Retry or cancel (all deliveries, or one subscription's), or resume a parked event with the verdict on it.

    `at` is ms since 1970, `actor` who asked, `trace` the correlation id of the asking component.
    """

    action: Action
    event: str
    at: int
    subscription: str | None = None
    actor: str = ""
    trace: str = ""
    verdict: Verdict | None = None
