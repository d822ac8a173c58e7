"""Rows as the Master API shows them: times in RFC 3339, the trace in the order in which the event passed."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

import msgspec

from certes.api.paging import Item
from certes.api.ports import DeliveryLine, QueueLine
from certes.backoffs import BackoffRow
from certes.clock import rfc3339
from certes.delivery import KEPT_ATTEMPTS, Attempt, Delivery
from certes.event import EventRow

#: Handlers' answers by (subscription, epoch, number).
Responses = Mapping[tuple[str, int, int], str]


def moment(at: int | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339."""
    return None if at is None else rfc3339(at / 1000)


def event_json(row: EventRow, responses: Responses | None = None) -> Item:
    """The event of CONTRACT. Without `responses` no attempt has one."""
    return {
        "id": row.id,
        "uri": row.uri,
        "source": row.source,
        "ce_source": row.ce_source,
        "given_id": row.given_id,
        "key": row.key,
        "time": row.time,
        "schema": None if row.schema is None else {"id": row.schema.id, "version": row.schema.version},
        "received_at": moment(row.received_at),
        "content_type": row.content_type,
        "size": row.size,
        "partition": row.partition,
        "offset": row.offset,
        "state": row.state,
        "duplicates": row.duplicates,
        "trace": trace_of(row),
        "asked": [{"action": one.action, "at": moment(one.at), "actor": one.actor} for one in row.asked],
        "errors": [{"path": one.path or "$", "reason": one.reason} for one in row.errors],
        "deliveries": [_delivery(one, responses or {}) for one in row.deliveries],
    }


def attempts_json(row: EventRow, responses: Responses) -> Item:
    """The attempts of all deliveries; `complete` unless a row has let go of older ones."""
    items = [
        {"subscription": one.subscription, **_attempt(one, attempt, responses)}
        for one in row.deliveries
        for attempt in one.attempts
    ]
    return {"items": sorted(items, key=lambda item: item["at"]), "complete": all(map(_has_all, row.deliveries))}


def trace_of(row: EventRow) -> list[str]:
    """The correlation ids in the order in which the event passed."""
    later = [(attempt.at, attempt.trace) for one in row.deliveries for attempt in one.attempts]
    later += [(asked.at, asked.trace) for asked in row.asked]
    return [*row.trace, *(trace for _, trace in sorted(later, key=itemgetter(0)) if trace)]


def _delivery(one: Delivery, responses: Responses) -> Item:
    return {
        "subscription": one.subscription,
        "state": one.state,
        "priority": one.priority,
        "rule": {"priority": one.rule[0], "backoff": one.rule[1]},
        "ordered": one.ordered,
        "epoch": one.epoch,
        "attempt": one.attempt,
        "next_attempt_at": moment(one.due) if one.open else None,
        "attempts": [_attempt(one, attempt, responses) for attempt in one.attempts],
    }


def _attempt(one: Delivery, attempt: Attempt, responses: Responses) -> Item:
    return {
        "number": attempt.number,
        "epoch": attempt.epoch,
        "at": moment(attempt.at),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
        "response": responses.get((one.subscription, attempt.epoch, attempt.number)),
        "late": attempt.late,
        "trace": attempt.trace or None,
    }


def _has_all(one: Delivery) -> bool:
    return len(one.attempts) < KEPT_ATTEMPTS or (one.attempts[0].epoch, one.attempts[0].number) == (1, 1)


def backoff_json(row: BackoffRow, partition: int) -> Item:
    times = ("failing_since", "last_failure_at", "last_success_at")
    fields = {name: value for name, value in msgspec.structs.asdict(row).items() if name != "v"}
    return {"partition": partition, **fields, **{name: moment(fields[name]) for name in times}}


def delivery_json(line: DeliveryLine, partition: int) -> Item:
    return {"partition": partition, **line._asdict(), "due": moment(line.due)}


def queue_json(line: QueueLine) -> Item:
    fields = {"priority": line.priority, "pending": line.pending, "waiting": line.waiting}
    return {**fields, "oldest_due_at": moment(line.oldest_due)}
