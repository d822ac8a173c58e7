"""How outcomes move a delivery, as a table."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.delivery import KEPT_ATTEMPTS, Delivery, Outcome, cancel, counts_for, restart, settle

STATES = ("pending", "waiting", "delivered", "exhausted", "cancelled", "expired")


def delivery(state="waiting", **kwargs):
    return Delivery("sub_1", state, **{"priority": 4, "due": 100, "since": 50, "attempt": 2, "epoch": 3, **kwargs})


def outcome(state, **kwargs):
    fields = {"epoch": 3, "attempt": 3, "at": 1_000, "duration_ms": 7, **kwargs}
    return Outcome("evt_1", "sub_1", state=state, **fields)


@pytest.mark.parametrize(
    ("before", "told", "epoch", "attempt", "counts"),
    [
        ("pending", "waiting", 3, 3, True),
        ("waiting", "exhausted", 3, 3, True),
        ("waiting", "expired", 3, 3, True),
        ("waiting", "cancelled", 3, 3, True),
        ("waiting", "waiting", 3, 2, False),  # late: that attempt has been counted
        ("waiting", "waiting", 3, 4, False),
        ("waiting", "waiting", 2, 3, False),  # of an epoch that is over
        ("waiting", "delivered", 3, 3, True),
        ("waiting", "delivered", 3, 1, True),  # a success settles, whatever its number
        ("waiting", "delivered", 3, 9, True),
        ("waiting", "delivered", 2, 3, False),
        ("exhausted", "delivered", 3, 3, True),
        ("expired", "delivered", 3, 3, True),
        ("exhausted", "waiting", 3, 3, False),
        ("expired", "waiting", 3, 3, False),
        ("delivered", "delivered", 3, 3, False),
        ("delivered", "exhausted", 3, 3, False),
        ("cancelled", "delivered", 3, 3, False),  # cancelled stays cancelled
        ("cancelled", "waiting", 3, 3, False),
    ],
)
def test_which_outcomes_count(before, told, epoch, attempt, counts):
    was = delivery(before)
    one = outcome(told, epoch=epoch, attempt=attempt, due=900)
    assert counts_for(was, one) is counts
    now = settle(was, one, record=77)
    assert now.attempts[-1].late is not counts
    assert now.attempts[-1].record == 77
    if counts:
        assert (now.state, now.attempt, now.due) == (told, attempt, 900)
    else:
        assert msgspec.structs.replace(now, attempts=()) == was


def test_an_attempt_keeps_what_happened():
    one = outcome("waiting", status=503, error="answered 503", trace="ec.1", due=2_000, response="busy")
    (attempt,) = settle(delivery(), one, record=5).attempts
    assert (attempt.number, attempt.epoch, attempt.at, attempt.duration_ms) == (3, 3, 1_000, 7)
    assert (attempt.status, attempt.error, attempt.trace) == (503, "answered 503", "ec.1")


def test_without_a_new_due_time_the_old_one_stays():
    assert settle(delivery(), outcome("delivered"), record=1).due == 100


def test_the_last_attempts_are_kept():
    one = delivery(attempt=0)
    for number in range(1, 9):
        one = settle(one, outcome("waiting", attempt=number), record=number)
    assert [attempt.number for attempt in one.attempts] == [4, 5, 6, 7, 8]
    assert len(one.attempts) == KEPT_ATTEMPTS


@pytest.mark.parametrize("state", STATES)
def test_restart_begins_a_new_epoch_and_keeps_the_trace(state):
    before = settle(delivery(), outcome("waiting"), record=1)
    now = restart(msgspec.structs.replace(before, state=state), at=4_000, job="job_1")
    assert (now.state, now.epoch, now.attempt, now.due, now.since, now.job) == ("pending", 4, 0, 4_000, 4_000, "job_1")
    assert now.attempts == before.attempts


@pytest.mark.parametrize("state", STATES)
def test_cancel_ends_only_what_is_open(state):
    one = delivery(state)
    assert cancel(one).state == ("cancelled" if one.open else state)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["waiting", "delivered", "exhausted", "cancelled", "expired"]),
            st.integers(1, 3),
            st.integers(1, 4),
        ),
        max_size=12,
    )
)
def test_a_delivery_that_is_settled_stays_so_without_a_command(log):
    one = delivery("pending", attempt=0, epoch=2)
    for number, (state, epoch, attempt) in enumerate(log):
        now = settle(one, outcome(state, epoch=epoch, attempt=attempt), record=number)
        assert now.epoch == one.epoch
        assert len(now.attempts) <= KEPT_ATTEMPTS
        if one.state in ("delivered", "cancelled"):
            assert now.state == one.state
        elif not one.open:
            assert now.state in (one.state, "delivered")
        one = now
