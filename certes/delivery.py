"""A delivery: one event for one subscription. Its states, its attempts, and how an outcome moves it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DeliveryState = Literal["pending", "waiting", "delivered", "exhausted", "cancelled", "expired"]
OPEN: frozenset[DeliveryState] = frozenset({"pending", "waiting"})
KEPT_ATTEMPTS = 5


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a handler. `at` is ms since 1970; `record` is the log offset of the outcome, which has the response.

    `late` says that the attempt ended after the delivery had moved on, and changed nothing.
    """

    number: int
    epoch: int
    at: int
    duration_ms: int
    record: int
    trace: str = ""
    status: int | None = None
    error: str | None = None
    late: bool = False


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of one event for one subscription.

    `epoch` counts restarts (retry, replay), `attempt` the finished tries within it. `due` and `since` are ms since
    1970: when the next attempt may start, and when the epoch began. `policy` is the back-off frozen at routing
    (`Policy.compact`), `rule` the scopes that decided priority and back-off.
    """

    subscription: str
    state: DeliveryState
    priority: int
    due: int
    since: int
    attempt: int = 0
    epoch: int = 1
    ordered: bool = False
    policy: dict[str, Any] | None = None
    rule: tuple[str, str] = ("default", "default")
    job: str | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def open(self) -> bool:
        return self.state in OPEN


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one attempt led to, decided by the consumer and folded by the broker.

    `state` is the delivery's next one, `due` (ms since 1970) its next attempt when that is `waiting`. `error` says in
    words why the attempt failed, `response` is the beginning of the handler's answer.
    """

    event: str
    subscription: str
    epoch: int
    attempt: int
    state: DeliveryState
    at: int
    duration_ms: int
    due: int = 0
    status: int | None = None
    error: str | None = None
    response: str = ""
    trace: str = ""


def settle(delivery: Delivery, outcome: Outcome, *, record: int) -> Delivery:
    """The delivery after an outcome.

    A success of the current epoch settles it whatever the attempt number. A failure counts only for the attempt that
    is expected next. All else happened, and is kept as late, but moves nothing.
    """
    counts = counts_for(delivery, outcome)
    attempt = Attempt(
        number=outcome.attempt,
        epoch=outcome.epoch,
        at=outcome.at,
        duration_ms=outcome.duration_ms,
        record=record,
        trace=outcome.trace,
        status=outcome.status,
        error=outcome.error,
        late=not counts,
    )
    attempts = (*delivery.attempts, attempt)[-KEPT_ATTEMPTS:]
    if not counts:
        return msgspec.structs.replace(delivery, attempts=attempts)
    return msgspec.structs.replace(
        delivery, state=outcome.state, attempt=outcome.attempt, due=outcome.due or delivery.due, attempts=attempts
    )


def counts_for(delivery: Delivery, outcome: Outcome) -> bool:
    """Whether the outcome moves the delivery (see `settle`)."""
    if outcome.epoch != delivery.epoch or delivery.state in ("delivered", "cancelled"):
        return False
    if outcome.state == "delivered":
        return True
    return delivery.open and outcome.attempt == delivery.attempt + 1


def restart(delivery: Delivery, *, at: int, job: str | None = None) -> Delivery:
    """The delivery, to be tried from the beginning: a new epoch, due at once."""
    return msgspec.structs.replace(
        delivery, state="pending", epoch=delivery.epoch + 1, attempt=0, due=at, since=at, job=job
    )


def cancel(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, state="cancelled") if delivery.open else delivery
