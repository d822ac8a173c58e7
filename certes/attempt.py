"""One attempt in three steps, each with a result: prepare the call, (send it, see `sender`), settle what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from certes import tracing
from certes.backoff import Policy
from certes.delivery import Delivery, Outcome
from certes.event import EventRow
from certes.signing import secret_key, sign
from certes.subscription import StoredSubscription

_ATTRIBUTES = (("ce-id", "given_id"), ("ce-source", "ce_source"), ("ce-time", "time"), ("ce-partitionkey", "key"))


#: The row keeps the errors of the last attempts, and has a limit.
ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Body:
    """What a handler gets: JSON as received, or Avro as JSON or as it is."""

    content: bytes = field(repr=False)
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, ready to be sent. `timeout` in seconds."""

    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    timeout: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, or an error in words. `retry_after` in seconds, as the handler asked."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def prepare(
    row: EventRow, delivery: Delivery, subscription: StoredSubscription, *, body: Body, trace: str, now: float
) -> Call:
    """The signed call of the next attempt. `trace` is its correlation id; `now` is seconds since 1970."""
    spec = subscription.spec
    stamp = int(now)
    keys = [secret_key(one.secret) for one in subscription.secrets if one.valid(now)]
    headers = {
        **spec.destination.headers,
        "content-type": _media_type(body.content_type),
        "webhook-id": row.id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(keys, message_id=row.id, timestamp=stamp, body=body.content),
        "ce-specversion": "1.0",
        "ce-type": row.uri or "",
        "certes-attempt": str(delivery.attempt + 1),
        "certes-trace": tracing.write((*row.trace, *(one.trace for one in row.asked if one.trace), trace)),
    }
    for header, attribute in _ATTRIBUTES:
        value = getattr(row, attribute)
        if value is not None:
            headers[header] = _header_value(value)
    headers.setdefault("ce-id", row.id)
    headers.setdefault("ce-source", _header_value(row.source))
    if row.traceparent is not None:
        headers["traceparent"] = row.traceparent
    if delivery.job is not None:
        headers["certes-replay"] = delivery.job
    return Call(spec.destination.url, headers, body.content, spec.timeout_seconds)


def _header_value(text: str) -> str:
    """Attributes are anybody's text; what is no visible ASCII is percent-encoded (CloudEvents HTTP, 3.1.3.2)."""
    return "".join(
        char if "!" <= char <= "~" and char not in '"%' else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )


def _media_type(text: str) -> str:
    """The publisher's word on its content, unless it is nothing that a header may hold."""
    return text if text.isascii() and text.isprintable() else "application/octet-stream"


def _words(error: str) -> str:
    """An error as it is kept: short, and without the stray bytes of a handler's garbage, which no record takes."""
    return error[:ERROR_CHARS].encode("utf-8", "replace").decode()


def settle(
    row: EventRow,
    delivery: Delivery,
    answer: Answer,
    *,
    at: int,
    duration_ms: int,
    roll: float,
    trace: str,
) -> Outcome:
    """What the attempt leads to: delivered, the next attempt, or the end of trying.

    `at` is ms since 1970, `roll` a random number in 0..1 for the jitter.
    """
    policy = Policy.expand(delivery.policy)
    outcome = Outcome(
        event=row.id,
        subscription=delivery.subscription,
        epoch=delivery.epoch,
        attempt=delivery.attempt + 1,
        state="delivered",
        at=at,
        duration_ms=duration_ms,
        status=answer.status,
        error=None if answer.ok else _words(answer.error or f"answered {answer.status}"),
        response=answer.body.decode("utf-8", "replace"),
        trace=trace,
    )
    if answer.ok:
        return outcome
    ended = at + duration_ms
    delay = policy.next_delay(
        retry=delivery.attempt + 1,
        elapsed=(ended - delivery.since) / 1000,
        roll=roll,
        at_least=answer.retry_after or 0.0,
    )
    if delay is None:
        return msgspec.structs.replace(outcome, state="exhausted")
    return msgspec.structs.replace(outcome, state="waiting", due=ended + round(delay * 1000))


def closed(row: EventRow, delivery: Delivery, *, state: str, reason: str, at: int) -> Outcome:
    """An outcome without a call: the delivery is `cancelled` or `expired`, for a reason."""
    return Outcome(
        event=row.id,
        subscription=delivery.subscription,
        epoch=delivery.epoch,
        attempt=delivery.attempt + 1,
        state="cancelled" if state == "cancelled" else "expired",
        at=at,
        duration_ms=0,
        error=_words(reason),
    )
