"""The fold: reading the log in order and turning it into rows. Idempotent by log position.

Each row remembers `applied`, the highest offset folded into it. A record at or below it has had its effect: the row is
written again as it stands, because its changelog record may be missing, and nothing is decided anew. A record above it
moves the state. Routing, priority and policy are decided once, when the row is made.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from certes import event as events
from certes.backoffs import BackoffRow
from certes.backoffs import dump as dump_backoff
from certes.backoffs import load as load_backoff
from certes.command import Command, Verdict
from certes.delivery import Delivery, Outcome, cancel, restart, settle
from certes.errors import Fatal, TooLarge
from certes.event import Asked, EventRow, Problem, SchemaRef, state_of
from certes.records import Arrival, Own, Record, read
from certes.tracing import MAX_IDS

logger = logging.getLogger(__name__)
_replace = msgspec.structs.replace
#: Commands that a row remembers, the last ones.
KEPT_COMMANDS = 8


class Rows(Protocol):
    """A table as the fold sees it: bytes by partition and key. `put` raises TooLarge, with nothing written."""

    def read_row(self, partition: int, key: bytes) -> bytes | None: ...

    def put(self, partition: int, key: bytes, value: bytes) -> None: ...


class Judge(Protocol):
    """Decides on a new event without waiting: a verdict, or what it waits for (the event is parked)."""

    def __call__(self, arrival: Arrival) -> Verdict | Problem: ...


class Codec(Protocol):
    """Reads own records. Raises ValueError for what it cannot read, Fatal for a newer format."""

    def outcomes(self, value: bytes) -> Sequence[Outcome]: ...

    def command(self, value: bytes) -> Command: ...


class Fold:
    """The only writer of the tables. `on_row` hears of each row written, and of the arrival that made it.

    `counts` has what did not become a row: `no_row` outcomes and commands without their event,
    `unreadable` own records, `failed` records that hit an error of ours.
    """

    def __init__(
        self,
        *,
        events: Rows,
        backoffs: Rows,
        judge: Judge,
        codec: Codec,
        cluster_key: bytes,
        on_row: Callable[[EventRow, Arrival | None], None],
    ) -> None:
        self._events = events
        self._backoffs = backoffs
        self._judge = judge
        self._codec = codec
        self._key = cluster_key
        self._on_row = on_row
        self.counts: Counter[str] = Counter()

    def apply(self, record: Record) -> None:
        """Fold one record. Raises Fatal only: one bad record must not stop those behind it."""
        try:
            item = read(record, cluster_key=self._key)
            if isinstance(item, Arrival):
                self._arrive(item)
            else:
                self._own(item)
        except Fatal:
            raise
        except Exception:
            self.counts["failed"] += 1
            position = f"{record.partition}/{record.offset}"
            logger.exception("record %s could not be folded", position, extra={"action": "fold"})

    def _arrive(self, arrival: Arrival) -> None:
        stored = self._load(arrival.partition, arrival.id)
        if stored is None:
            self._write(admit(arrival, self._verdict(arrival)), arrival)
        else:
            self._write(repeat(stored, offset=arrival.offset), arrival)

    def _verdict(self, arrival: Arrival) -> Verdict | Problem:
        if arrival.forged is not None:
            return Verdict(errors=(Problem(f"claims to be a record of Certes ({arrival.forged}) without a valid MAC"),))
        try:
            return self._judge(arrival)
        except Fatal:
            raise
        except Exception as error:
            self.counts["failed"] += 1
            logger.exception("event %s could not be judged", arrival.id, extra={"action": "judge"})
            return Verdict.failed(error)

    def _own(self, item: Own) -> None:
        try:
            if item.kind == "command":
                self._command(self._codec.command(item.value), item)
            else:
                self._outcomes(self._codec.outcomes(item.value), item)
        except ValueError as error:
            self.counts["unreadable"] += 1
            position = f"{item.partition}/{item.offset}"
            logger.warning("own record %s is unreadable: %s", position, error, extra={"action": "fold"})

    def _outcomes(self, outcomes: Sequence[Outcome], item: Own) -> None:
        """One record holds the outcomes of some milliseconds. Each row takes all of its own at once, or none."""
        for identifier, some in _grouped(outcomes, lambda one: one.event).items():
            row = self._load(item.partition, identifier)
            if row is None:
                self.counts["no_row"] += len(some)
                continue
            self._write(outcomes_applied(row, some, offset=item.offset), None)
        for subscription, some in _grouped(outcomes, lambda one: one.subscription).items():
            self._health(subscription, some, item)

    def _health(self, subscription: str, outcomes: Sequence[Outcome], item: Own) -> None:
        key = subscription.encode()
        stored = self._backoffs.read_row(item.partition, key)
        row = BackoffRow.first(subscription) if stored is None else load_backoff(stored)
        after = row.after(outcomes, offset=item.offset)
        # A replayed record writes the row again: its changelog record may be missing.
        if after is not row or (stored is not None and item.offset <= row.applied):
            self._backoffs.put(item.partition, key, dump_backoff(after))

    def _command(self, command: Command, item: Own) -> None:
        row = self._load(item.partition, command.event)
        if row is None:
            self.counts["no_row"] += 1
            return
        self._write(command_applied(row, command, offset=item.offset), None)

    def _load(self, partition: int, identifier: str) -> EventRow | None:
        stored = self._events.read_row(partition, identifier.encode())
        return None if stored is None else events.load(stored)

    def _write(self, row: EventRow, arrival: Arrival | None) -> None:
        try:
            self._put(row)
        except TooLarge as error:
            row = smaller(row, reason=str(error))
            self._put(row)
        self._on_row(row, arrival)

    def _put(self, row: EventRow) -> None:
        self._events.put(row.partition, row.id.encode(), events.dump(row))


def _grouped(outcomes: Iterable[Outcome], key: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return groups


def admit(arrival: Arrival, verdict: Verdict | Problem) -> EventRow:
    """The first row of an event."""
    row = EventRow(
        v=events.ROW_VERSION,
        id=arrival.id,
        partition=arrival.partition,
        offset=arrival.offset,
        applied=arrival.offset,
        received_at=arrival.received_at,
        checksum=arrival.checksum,
        size=len(arrival.value),
        state="accepted",
        source=arrival.source,
        uri=arrival.uri,
        ce_source=arrival.ce_source,
        given_id=arrival.given_id,
        key=arrival.key,
        content_type=arrival.content_type,
        time=arrival.time,
        traceparent=arrival.traceparent,
        trace=arrival.trace[-MAX_IDS:],
    )
    if isinstance(verdict, Problem):
        checked_by = None if arrival.schema_id is None else SchemaRef(arrival.schema_id)
        return _replace(row, schema=checked_by, errors=(verdict,))
    return judged(row, verdict, at=arrival.received_at)


def judged(row: EventRow, verdict: Verdict, *, at: int) -> EventRow:
    """The row with the verdict: rejected, unrouted, or with its deliveries, due at `at` (ms since 1970)."""
    schema: SchemaRef | None = verdict.schema
    if verdict.errors:
        return _replace(row, state="rejected", uri=verdict.uri or row.uri, schema=schema, errors=verdict.errors)
    deliveries = tuple(
        Delivery(
            subscription=route.subscription,
            state="pending",
            priority=route.priority,
            due=at,
            since=at,
            ordered=route.ordered,
            policy=route.policy,
            rule=route.rule,
        )
        for route in verdict.routes
    )
    return _replace(row, state=state_of(deliveries), uri=verdict.uri, schema=schema, errors=(), deliveries=deliveries)


def smaller(row: EventRow, *, reason: str) -> EventRow:
    """What is kept of a row over the limit of size: all but its attempts; without any it cannot be taken."""
    if any(one.attempts for one in row.deliveries):
        return _replace(row, deliveries=tuple(_replace(one, attempts=()) for one in row.deliveries))
    return _replace(row, state="rejected", deliveries=(), errors=(Problem(reason),))


def repeat(row: EventRow, *, offset: int) -> EventRow:
    """The row after an arrival with an id that it has already: the same event published again, or a replayed record."""
    if offset <= row.applied:
        return row
    return _replace(row, applied=offset, duplicates=row.duplicates + 1)


def outcomes_applied(row: EventRow, outcomes: Iterable[Outcome], *, offset: int) -> EventRow:
    """The row after all of its outcomes of the record at `offset`."""
    if offset <= row.applied:
        return row
    deliveries = {one.subscription: one for one in row.deliveries}
    for outcome in outcomes:
        before = deliveries.get(outcome.subscription)
        if before is not None:
            deliveries[outcome.subscription] = settle(before, outcome, record=offset)
    if not deliveries:
        # Routed in a row that was lost; this one is still parked, and must not become unrouted by it.
        return _replace(row, applied=offset)
    moved = tuple(deliveries.values())
    return _replace(row, applied=offset, deliveries=moved, state=state_of(moved))


def command_applied(row: EventRow, command: Command, *, offset: int) -> EventRow:
    """The row after a command at `offset`."""
    if offset <= row.applied:
        return row
    row = _replace(row, applied=offset)
    if command.action == "resume":
        return judged(row, command.verdict, at=command.at) if row.state == "accepted" and command.verdict else row
    asked = Asked(action=command.action, at=command.at, actor=command.actor, trace=command.trace)
    # A handler that has had the event is told by this mark that it comes again.
    job = f"job_{row.partition}-{offset}"
    deliveries = tuple(_commanded(one, command, job=job) for one in row.deliveries)
    state = state_of(deliveries) if deliveries else _without_deliveries(row, command)
    return _replace(row, asked=(*row.asked, asked)[-KEPT_COMMANDS:], deliveries=deliveries, state=state)


def _without_deliveries(row: EventRow, command: Command) -> events.EventState:
    all_of_it = command.action == "cancel" and command.subscription is None
    return "cancelled" if all_of_it and row.state == "accepted" else row.state


def _commanded(delivery: Delivery, command: Command, *, job: str) -> Delivery:
    if command.subscription not in (None, delivery.subscription):
        return delivery
    if command.action == "cancel":
        return cancel(delivery)
    # What is due is tried anyway. "Retry all" means those that failed; a delivered one is repeated only when it is named.
    if delivery.state == "pending" or (command.subscription is None and delivery.state == "delivered"):
        return delivery
    return restart(delivery, at=command.at, job=job if delivery.state == "delivered" else None)
