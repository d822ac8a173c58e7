from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certes.backoff import DAY, DEFAULT, Policy

SECONDS = st.floats(0, 366 * DAY, allow_nan=False)
POLICIES = st.builds(
    Policy,
    strategy=st.sampled_from(["exponential", "linear", "logarithmic", "schedule"]),
    initial_seconds=SECONDS,
    factor=st.floats(1, 1000, allow_nan=False),
    max_delay_seconds=SECONDS,
    jitter=st.floats(0, 1, allow_nan=False),
    schedule=st.lists(SECONDS, min_size=1, max_size=12).map(tuple),
    max_retries=st.none() | st.integers(0, 1_000_000),
    max_elapsed_seconds=st.none() | SECONDS,
)
GROWING = POLICIES.filter(lambda policy: policy.strategy != "schedule")
RETRIES = st.integers(1, 100) | st.integers(1, 2**63)
ROLLS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Policy(initial_seconds=5, factor=3), [5, 15, 45, 135, 405]),
        (Policy(initial_seconds=2, factor=1), [2, 2, 2]),
        (Policy(initial_seconds=0, factor=9), [0, 0, 0]),
        (Policy(initial_seconds=5, factor=10, max_delay_seconds=400), [5, 50, 400, 400]),
        (Policy(strategy="linear", initial_seconds=5), [5, 10, 15, 20]),
        (Policy(strategy="linear", initial_seconds=5, max_delay_seconds=12), [5, 10, 12]),
        (Policy(strategy="logarithmic", initial_seconds=5), [5, 10, 5 * (1 + math.log2(3)), 15]),
        (Policy(strategy="schedule", schedule=(5, 300, 60)), [5, 300, 60]),
        (Policy(strategy="schedule", schedule=(5, 300), max_delay_seconds=60), [5, 60]),
    ],
)
def test_the_formulae_of_the_contract(policy: Policy, delays: list[float]) -> None:
    middle = 0.5  # where jitter adds nothing
    without_jitter = policy.model_copy(update={"jitter": 0.0})
    found = [without_jitter.delay(retry, middle) for retry in range(1, len(delays) + 1)]
    assert found == pytest.approx(delays)


def test_the_default_policy() -> None:
    assert DEFAULT.model_dump() == {
        "strategy": "exponential",
        "initial_seconds": 5.0,
        "factor": 3.0,
        "max_delay_seconds": 21_600.0,
        "jitter": 0.2,
        "schedule": (),
        "max_retries": None,
        "max_elapsed_seconds": 604_800.0,
    }


@given(POLICIES, RETRIES, ROLLS)
def test_a_delay_is_within_jitter_never_negative_never_past_the_cap(policy: Policy, retry: int, roll: float) -> None:
    base = policy.model_copy(update={"jitter": 0.0}).delay(retry, 0.5)
    delay = policy.delay(retry, roll)
    assert 0 <= delay <= policy.max_delay_seconds
    assert base * (1 - policy.jitter) <= delay * (1 + 1e-9)
    assert delay <= base * (1 + policy.jitter) * (1 + 1e-9)


@given(GROWING, RETRIES, RETRIES, ROLLS)
def test_delays_grow(policy: Policy, one: int, other: int, roll: float) -> None:
    first, second = sorted((one, other))
    assert policy.delay(first, roll) <= policy.delay(second, roll) * (1 + 1e-9)


def test_jitter_spreads_at_the_cap_too() -> None:
    policy = Policy(initial_seconds=100, max_delay_seconds=100, jitter=0.2)
    assert [policy.delay(9, roll) for roll in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([80, 85, 90, 95, 100])


@pytest.mark.parametrize("strategy", ["exponential", "linear", "logarithmic", "schedule"])
@pytest.mark.parametrize("retry", [10_000, 10**9, 2**63])
@pytest.mark.parametrize("initial", [5e-324, 1e-300, 5.0, 366 * DAY])
def test_huge_retry_numbers_end_at_the_cap(strategy: str, retry: int, initial: float) -> None:
    policy = Policy.model_validate({"strategy": strategy, "initial_seconds": initial, "schedule": [1], "factor": 1000})
    assert 0 <= policy.delay(retry, 1.0) <= policy.max_delay_seconds
    if strategy == "exponential":
        assert policy.delay(retry, 1.0) == policy.max_delay_seconds


def test_the_number_of_retries_is_a_limit() -> None:
    policy = Policy(max_retries=2, max_elapsed_seconds=None)
    assert policy.retries() == 2
    assert policy.next_delay(retry=2, elapsed=1e9, roll=0.5) == 15
    assert policy.next_delay(retry=3, elapsed=0, roll=0.5) is None
    assert Policy(max_retries=0).next_delay(retry=1, elapsed=0, roll=0.5) is None
    assert DEFAULT.retries() == math.inf


def test_a_schedule_ends() -> None:
    policy = Policy(strategy="schedule", schedule=(1, 2, 3), max_retries=9)
    assert policy.retries() == 3
    assert policy.next_delay(retry=4, elapsed=0, roll=0.5) is None
    assert policy.model_copy(update={"max_retries": 2}).retries() == 2


def test_elapsed_time_is_looked_ahead() -> None:
    policy = Policy(initial_seconds=10, jitter=0, max_elapsed_seconds=60)
    assert policy.next_delay(retry=1, elapsed=50, roll=0.5) == 10
    assert policy.next_delay(retry=1, elapsed=50.001, roll=0.5) is None


def test_what_the_handler_asked_for_is_obeyed_up_to_the_cap() -> None:
    policy = Policy(initial_seconds=10, jitter=0, max_delay_seconds=100, max_elapsed_seconds=None)
    assert policy.next_delay(retry=1, elapsed=0, roll=0.5, at_least=60) == 60
    assert policy.next_delay(retry=1, elapsed=0, roll=0.5, at_least=1e12) == 100
    assert policy.next_delay(retry=1, elapsed=0, roll=0.5, at_least=-5) == 10
    limited = policy.model_copy(update={"max_elapsed_seconds": 59})
    assert limited.next_delay(retry=1, elapsed=0, roll=0.5, at_least=60) is None


@given(POLICIES, RETRIES, SECONDS, ROLLS, SECONDS)
def test_a_delay_is_given_exactly_within_the_limits(
    policy: Policy, retry: int, elapsed: float, roll: float, at_least: float
) -> None:
    delay = policy.next_delay(retry=retry, elapsed=elapsed, roll=roll, at_least=at_least)
    wanted = max(policy.delay(retry, roll), min(at_least, policy.max_delay_seconds))
    in_time = policy.max_elapsed_seconds is None or elapsed + wanted <= policy.max_elapsed_seconds
    assert delay == (wanted if retry <= policy.retries() and in_time else None)


@given(POLICIES)
def test_what_a_row_stores_gives_the_policy_back(policy: Policy) -> None:
    assert Policy.expand(policy.compact()) == policy


def test_the_default_takes_no_room_in_a_row() -> None:
    assert DEFAULT.compact() is None
    assert Policy(factor=2).compact() == {"factor": 2.0}
    assert Policy.expand(None) is DEFAULT


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"strategy": "quadratic"}, "strategy"),
        ({"initial_seconds": -1}, "initial_seconds"),
        ({"initial_seconds": float("nan")}, "initial_seconds"),
        ({"max_delay_seconds": float("inf")}, "max_delay_seconds"),
        ({"factor": 0.5}, "factor"),
        ({"jitter": 1.1}, "jitter"),
        ({"max_retries": -1}, "max_retries"),
        ({"schedule": [1, -1]}, "schedule"),
        ({"strategy": "schedule"}, "a schedule needs at least one entry"),
        ({"maximum": 3}, "maximum"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(fields: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        Policy.model_validate(fields)
