"""The fold, with the property it stands for: whatever is repeated, and whatever rows are left, the rows come out the same."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certes import backoffs, event
from certes.command import Command, Route, Verdict
from certes.delivery import Outcome
from certes.errors import Fatal, TooLarge
from certes.event import Asked, EventRow, Problem, event_id, load
from certes.fold import KEPT_COMMANDS, Fold
from certes.records import Arrival, id_scope, own_headers
from schemas.own import OwnCodec, encode_command, encode_outcomes

KEY = b"k" * 32
GIVEN = ("a", "b", "c")
SUBSCRIPTIONS = ("sub_1", "sub_2", "sub_3")


@dataclass
class Rec:
    value: bytes | None = b"{}"
    headers: list = field(default_factory=list)
    key: bytes | None = None
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_000


class Table:
    """In-memory rows, with the history of each key as a changelog has it."""

    def __init__(self, rows=(), limit=1 << 20):
        self.rows = dict(rows)
        self.limit = limit
        self.puts = []

    def read_row(self, partition, key):
        return self.rows.get((partition, key))

    def put(self, partition, key, value):
        if len(value) > self.limit:
            raise TooLarge(f"{len(value)} bytes")
        self.puts.append((partition, key))
        self.rows[partition, key] = value


class World:
    """A fold over two tables, and what it told."""

    def __init__(self, judge=None, *, events=(), health=(), codec=None, limit=1 << 20):
        self.events = Table(events, limit)
        self.backoffs = Table(health)
        self.told = []
        self.fold = Fold(
            events=self.events,
            backoffs=self.backoffs,
            judge=judge or routed(*SUBSCRIPTIONS[:2]),
            codec=codec or OwnCodec(),
            cluster_key=KEY,
            on_row=lambda row, arrival: self.told.append((row, arrival)),
        )

    def feed(self, *records):
        """Append and fold; offsets go on from 0."""
        for record in records:
            record.offset = self.end = getattr(self, "end", -1) + 1
            self.fold.apply(record)
        return self

    def row(self, given="a"):
        return load(self.events.rows[0, identifier(given).encode()])

    def delivery(self, subscription="sub_1", given="a"):
        return self.row(given).delivery(subscription)

    def health(self, subscription="sub_1"):
        return backoffs.load(self.backoffs.rows[0, subscription.encode()])


def identifier(given):
    return event_id(partition=0, source=id_scope("kafka", ""), given=given)


def routed(*subscriptions, priority=4):
    verdict = Verdict(uri="a.dev/_/1/x", routes=tuple(Route(one, priority) for one in subscriptions))
    return lambda arrival: verdict


def parked(arrival):
    return Problem("waits for schema 7")


def published(given="a", value=b"{}", **kwargs):
    return Rec(value, [("ce_id", given.encode())], **kwargs)


def own(kind, value):
    return Rec(value, own_headers(kind, value, cluster_key=KEY))


def outcome(given="a", subscription="sub_1", state="delivered", **kwargs):
    fields = {"epoch": 1, "attempt": 1, "at": 2_000, "duration_ms": 5, **kwargs}
    return Outcome(identifier(given), subscription, state=state, **fields)


def outcomes(*some):
    return own("outcomes", encode_outcomes(some)[0])


def command(action, given="a", **kwargs):
    return own("command", encode_command(Command(action, identifier(given), kwargs.pop("at", 3_000), **kwargs)))


# -- the property


def judge_by(number):
    """A configuration: it decides by the event, differently from any other."""

    def judge(arrival: Arrival):
        choice = (zlib.crc32(arrival.id.encode()) + number * 7919) % 6
        if choice == 0:
            return Problem(f"waits, says {number}")
        if choice == 1:
            return Verdict(errors=(Problem(f"refused by {number}"),))
        if choice == 2:
            raise KeyError(number)
        return routed(*SUBSCRIPTIONS[: choice - 2], priority=number % 10)(arrival)

    return judge


some_event = st.builds(published, st.sampled_from(GIVEN), st.sampled_from([b"{}", b"{ }", b""]))
some_outcome = st.builds(
    outcome,
    st.sampled_from((*GIVEN, "never published")),
    st.sampled_from((*SUBSCRIPTIONS, "sub_unknown")),
    st.sampled_from(["waiting", "delivered", "exhausted", "cancelled", "expired"]),
    epoch=st.integers(1, 3),
    attempt=st.integers(1, 4),
    due=st.integers(0, 9_000),
)
some_outcomes = st.lists(some_outcome, max_size=5).map(lambda some: outcomes(*some))
verdicts = st.one_of(
    st.none(),
    st.just(Verdict(errors=(Problem("no"),))),
    st.lists(st.sampled_from(SUBSCRIPTIONS), unique=True).map(lambda names: routed(*names)(None)),
)
some_command = st.builds(
    command,
    st.sampled_from(["retry", "cancel", "resume"]),
    st.sampled_from((*GIVEN, "never published")),
    subscription=st.sampled_from([None, *SUBSCRIPTIONS]),
    trace=st.sampled_from(["", "api.1"]),
    verdict=verdicts,
)
garbage = st.builds(
    Rec,
    st.one_of(st.none(), st.binary(max_size=20)),
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_type", "certes_trace"]), st.binary(max_size=9)), max_size=3),
    st.one_of(st.none(), st.binary(max_size=9)),
)
forged = st.builds(
    lambda kind, value: Rec(value, [("certes_kind", kind), ("certes_mac", b"m" * 32), ("ce_id", b"a")]),
    st.sampled_from([b"outcomes", b"command", b"event", b"\xff"]),
    st.binary(max_size=20),
)
unreadable = st.builds(
    own, st.sampled_from(["outcomes", "command"]), st.binary(max_size=12).map(lambda raw: b"\x02" + raw)
)
noise = st.one_of(garbage, forged, unreadable)
logs = st.lists(
    st.one_of(some_event, some_event, some_outcomes, some_outcomes, some_command, some_command, noise),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    log=logs, data=st.data(), one=st.integers(0, 99), other=st.integers(0, 99), limit=st.sampled_from([700, 1 << 20])
)
def test_any_log_from_any_offset_over_any_rows_gives_the_same_rows(log, data, one, other, limit):
    first = World(judge_by(one), limit=limit)
    histories = {}
    for offset, record in enumerate(log):
        record.offset = offset
        before = len(first.events.puts), len(first.backoffs.puts)
        first.fold.apply(record)
        for name, table, start in (("events", first.events, before[0]), ("backoffs", first.backoffs, before[1])):
            for place in table.puts[start:]:
                histories.setdefault((name, place), []).append((offset, table.rows[place]))

    again = data.draw(st.integers(0, len(log)), label="fold again from")
    cut = data.draw(st.integers(again, len(log)), label="rows reach to")
    left = {"events": {}, "backoffs": {}}
    for (name, place), history in histories.items():
        # What the changelog holds for certain reaches to `again`; of what came after it, any part may have got there.
        held = sum(offset < again for offset, _ in history)
        written = sum(offset < cut for offset, _ in history)
        versions = data.draw(st.integers(held, written), label=f"{name} {place}")
        if versions:
            left[name][place] = history[versions - 1][1]

    second = World(
        lambda arrival: judge_by(one if (arrival.partition, arrival.id.encode()) not in left["events"] else other)(
            arrival
        ),
        events=left["events"].items(),
        health=left["backoffs"].items(),
        limit=limit,
    )
    for record in log[again:]:
        second.fold.apply(record)
    assert second.events.rows == first.events.rows
    assert second.backoffs.rows == first.backoffs.rows


@settings(max_examples=100, deadline=None)
@given(log=logs, number=st.integers(0, 99))
def test_what_was_folded_is_written_again_as_it_stands_and_never_judged_again(log, number):
    def never(arrival):
        raise Fatal("judged again")

    world = World(judge_by(number)).feed(*log)
    again = World(never, events=world.events.rows.items(), health=world.backoffs.rows.items())
    for record in log:
        again.fold.apply(record)
    assert again.events.rows == world.events.rows
    # A changelog record may be missing: each row that was written is written again.
    assert set(again.events.puts) == set(world.events.puts)
    assert set(again.backoffs.puts) == set(world.backoffs.puts)


@settings(max_examples=100, deadline=None)
@given(log=logs)
def test_an_event_behind_any_records_is_folded(log):
    world = World(judge_by(1)).feed(*log)
    world.fold._judge = routed("sub_1")
    world.feed(published("behind them all"))
    assert world.row("behind them all").state == "delivering"


# -- what becomes of an event


def test_an_event_becomes_a_row_with_its_deliveries():
    world = World(routed("sub_1", priority=7)).feed(
        Rec(b"[1]", [("ce_id", b"a"), ("ce_type", b"a.dev/_/1/y"), ("ce_time", b"now")], b"customer-7", timestamp=77)
    )
    row = world.row()
    assert (row.state, row.uri, row.received_at, row.key, row.time) == (
        "delivering",
        "a.dev/_/1/x",
        77,
        "customer-7",
        "now",
    )
    assert (row.checksum, row.size, row.applied, row.trace) == (zlib.crc32(b"[1]"), 3, 0, ("eb.0-0",))
    (delivery,) = row.deliveries
    assert (delivery.state, delivery.priority, delivery.due, delivery.since, delivery.epoch) == (
        "pending",
        7,
        77,
        77,
        1,
    )
    assert world.told[0][0] == row
    assert world.told[0][1].value == b"[1]"


def test_an_event_nobody_wants_is_unrouted_and_one_without_schema_is_parked():
    world = World(routed()).feed(published())
    assert world.row().state == "unrouted"
    world = World(parked).feed(published())
    assert (world.row().state, world.row().errors) == ("accepted", (Problem("waits for schema 7"),))


def test_an_invalid_event_is_kept_with_its_reasons():
    errors = (Problem("no number", "$.cents"),)
    row = World(lambda arrival: Verdict(uri="a.dev/_/1/x", errors=errors)).feed(published()).row()
    assert (row.state, row.errors, row.deliveries, row.uri) == ("rejected", errors, (), "a.dev/_/1/x")


def test_an_error_of_ours_rejects_the_event_and_is_told(caplog):
    def broken(arrival):
        raise ZeroDivisionError

    world = World(broken).feed(published(), published("b"))
    assert [world.row(given).state for given in "ab"] == ["rejected", "rejected"]
    assert "ZeroDivisionError" in world.row().errors[0].reason
    assert world.fold.counts["failed"] == 2
    assert identifier("a") in caplog.text


@pytest.mark.parametrize("kind", ["outcomes", "command", "event", "else"])
def test_a_forged_record_is_rejected_and_moves_nothing(kind):
    world = World().feed(published())
    value = outcomes(outcome()).value
    world.feed(Rec(value, [("certes_kind", kind.encode()), ("certes_mac", b"x" * 32), ("ce_id", b"a")]))
    assert world.delivery().state == "pending"
    forged = load(world.events.rows[world.events.puts[-1]])
    assert forged.state == "rejected"
    assert kind in forged.errors[0].reason
    assert forged.id != identifier("a")


def test_the_same_event_again_is_counted_not_routed():
    world = World().feed(published(), published(value=b"[other]"), published())
    assert (world.row().duplicates, world.row().applied, world.row().offset) == (2, 2, 0)
    assert world.row().checksum == zlib.crc32(b"{}")
    assert len(world.row().deliveries) == 2


def test_a_fatal_error_ends_the_fold():
    def newer(arrival):
        raise Fatal("upgrade")

    with pytest.raises(Fatal):
        World(newer).feed(published())
    newer_record = own("command", b"\x04")  # format 2
    with pytest.raises(Fatal, match="upgrade"):
        World().feed(newer_record)
    world = World().feed(published())
    place = (0, identifier("a").encode())
    world.events.rows[place] = world.events.rows[place].replace(b'"v":1', b'"v":2')
    with pytest.raises(Fatal, match="upgrade"):
        world.feed(outcomes(outcome()))


def test_what_cannot_be_folded_is_counted_and_passed(caplog):
    world = World().feed(own("outcomes", b""), own("command", b"\x02\x06xyz"))
    assert world.fold.counts == {"unreadable": 2}
    world.events.read_row = lambda partition, key: 1 / 0
    world.feed(published())
    assert world.fold.counts["failed"] == 1
    assert "0/2" in caplog.text
    del world.events.read_row
    assert world.feed(published("b")).row("b").state == "delivering"


def test_what_is_about_no_row_makes_none():
    world = World().feed(outcomes(outcome(), outcome(subscription="sub_2")), command("cancel"))
    assert world.events.rows == {}
    assert world.fold.counts["no_row"] == 3


def test_the_last_commands_are_remembered():
    world = World().feed(published(), *[command("retry", trace=f"api.{number}") for number in range(KEPT_COMMANDS + 5)])
    assert [one.trace for one in world.row().asked] == [f"api.{number + 5}" for number in range(KEPT_COMMANDS)]


# -- rows over the limit


def test_a_row_that_grew_too_large_gives_up_its_attempts_but_not_its_state():
    world = World(limit=1_200).feed(published())
    world.feed(*[outcomes(outcome(state="waiting", attempt=number, due=9, error="e" * 300)) for number in (1, 2, 3)])
    assert (world.delivery().attempt, world.delivery().state) == (3, "waiting")
    assert len(world.delivery().attempts) < 3
    assert world.told[-1][0] == world.row()


def test_an_event_for_too_many_subscriptions_is_rejected_with_the_reason():
    world = World(routed(*[f"sub_{number}" for number in range(100)]), limit=1_200).feed(published(), published("b"))
    assert (world.row().state, world.row().deliveries) == ("rejected", ())
    assert "bytes" in world.row().errors[0].reason
    assert world.row("b").state == "rejected"


# -- outcomes


def test_outcomes_of_one_event_in_one_record_all_count():
    world = World().feed(published(), outcomes(outcome(), outcome(subscription="sub_2", state="exhausted", error="no")))
    assert [one.state for one in world.row().deliveries] == ["delivered", "exhausted"]
    assert world.row().state == "failed"
    assert len(world.told) == 2


def test_several_attempts_of_one_delivery_in_one_record_count_in_order():
    world = World().feed(published(), outcomes(outcome(state="waiting", due=5), outcome(attempt=2)))
    assert (world.delivery().state, world.delivery().attempt) == ("delivered", 2)


def test_an_outcome_for_a_parked_event_does_not_unpark_it():
    """The row that routed it was lost, and its schema is not cached now."""
    world = World(parked).feed(published(), outcomes(outcome()))
    assert (world.row().state, world.row().applied) == ("accepted", 1)
    world.feed(command("resume", verdict=routed("sub_1")(None)))
    assert world.delivery().state == "pending"


# -- commands


def test_resume_routes_a_parked_event_once():
    world = World(parked).feed(published(), command("resume", verdict=routed("sub_1")(None), at=5_000))
    assert (world.delivery().state, world.delivery().due, world.row().errors) == ("pending", 5_000, ())
    world.feed(command("resume", verdict=Verdict(errors=(Problem("no"),))))
    assert world.row().state == "delivering"


def test_resume_can_reject_and_without_verdict_does_nothing():
    world = World(parked).feed(published(), command("resume"))
    assert world.row().state == "accepted"
    assert world.feed(command("resume", verdict=Verdict(errors=(Problem("no"),)))).row().state == "rejected"


def test_cancel_ends_what_is_open():
    world = World().feed(published(), outcomes(outcome()), command("cancel"))
    assert [one.state for one in world.row().deliveries] == ["delivered", "cancelled"]
    assert world.row().state == "delivered"
    assert world.feed(outcomes(outcome(subscription="sub_2"))).delivery("sub_2").state == "cancelled"
    assert world.delivery("sub_2").attempts[0].late


def test_cancel_of_one_subscription_leaves_the_others_and_a_parked_event():
    world = World().feed(published(), command("cancel", subscription="sub_2"))
    assert [one.state for one in world.row().deliveries] == ["pending", "cancelled"]
    world = World(parked).feed(published(), command("cancel", subscription="sub_2"))
    assert world.row().state == "accepted"
    world.feed(command("cancel"), command("resume", verdict=routed("sub_1")(None)))
    assert world.row().state == "cancelled"


def test_retry_begins_an_epoch_for_all_but_what_is_delivered():
    world = World().feed(published(), outcomes(outcome(), outcome(subscription="sub_2", state="exhausted")))
    world.feed(command("retry", at=6_000, actor="me", trace="api.7"))
    first, second = world.row().deliveries
    assert (first.state, first.epoch) == ("delivered", 1)
    assert (second.state, second.epoch, second.attempt, second.due, second.since) == ("pending", 2, 0, 6_000, 6_000)
    assert world.row().asked == (Asked("retry", 6_000, "me", "api.7"),)
    assert world.row().state == "delivering"
    late = outcome(subscription="sub_2", state="exhausted")
    assert world.feed(outcomes(late)).delivery("sub_2").state == "pending"


def test_a_command_that_is_read_again_has_had_its_effect():
    retry = command("retry")
    world = World().feed(published(), outcomes(outcome(state="exhausted")), retry)
    world.fold.apply(retry)
    assert world.delivery().epoch == 2


def test_a_repeat_of_what_was_delivered_is_marked_as_one():
    world = World().feed(published(), outcomes(outcome()), command("retry", subscription="sub_1"))
    assert (world.delivery().state, world.delivery().epoch) == ("pending", 2)
    assert world.delivery().job is not None
    assert world.delivery().job.startswith("job_")
    assert World().feed(published(), command("retry")).delivery().epoch == 1, "what is due is tried anyway"


def test_retry_of_what_is_delivered_must_name_it():
    world = World(routed("sub_1")).feed(published(), outcomes(outcome()), command("retry", subscription="sub_1"))
    assert (world.delivery().state, world.delivery().epoch) == ("pending", 2)


def test_commands_do_nothing_to_a_rejected_event():
    world = World(lambda arrival: Verdict(errors=(Problem("no"),))).feed(
        published(), command("retry"), command("cancel")
    )
    assert world.row().state == "rejected"


# -- health


def test_failures_in_a_row_are_counted_once_each():
    records = [published(), outcomes(outcome(state="waiting", error="answered 500"), outcome("b", state="exhausted"))]
    world = World().feed(*records)
    health = world.health()
    assert (health.failures, health.failing_since, health.last_failure_at) == (2, 2_005, 2_005)
    writes = len(world.backoffs.puts)
    world.fold.apply(records[1])
    assert world.health() == health
    assert len(world.backoffs.puts) == writes + 1  # as it stands: its changelog record may be missing
    later = world.feed(outcomes(outcome(state="waiting", attempt=2, at=9_000))).health()
    assert (later.failures, later.failing_since, later.last_failure_at) == (3, 2_005, 9_005)


def test_a_success_ends_the_row_of_failures_and_a_healthy_handler_costs_no_rows():
    world = World().feed(published(), outcomes(outcome()))
    assert world.backoffs.puts == []
    world.feed(outcomes(outcome(state="waiting")), outcomes(outcome(attempt=2, at=8_000)))
    health = world.health()
    assert (health.failures, health.failing_since, health.last_success_at, health.applied) == (0, None, 8_005, 3)
    assert len(world.feed(outcomes(outcome())).backoffs.puts) == 2


def test_what_was_closed_without_a_call_says_nothing_of_the_handler():
    world = World().feed(
        published(), outcomes(outcome(state="cancelled"), outcome(subscription="sub_2", state="expired"))
    )
    assert world.backoffs.rows == {}
    assert world.row().state == "failed"


def test_a_newer_back_off_row_is_fatal():
    world = World().feed(published(), outcomes(outcome(state="waiting")))
    place = (0, b"sub_1")
    world.backoffs.rows[place] = msgspec.json.encode(msgspec.structs.replace(world.health(), v=2))
    with pytest.raises(Fatal, match="upgrade"):
        world.feed(outcomes(outcome()))


def test_rows_are_typed_as_stored():
    world = World().feed(published(), outcomes(outcome(state="waiting", due=9)))
    stored = world.events.rows[0, identifier("a").encode()]
    assert isinstance(load(stored), EventRow)
    assert event.dump(load(stored)) == stored
