from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from certes.dev.restarts import Restarts


def test_the_delay_doubles_up_to_half_a_minute() -> None:
    restarts, delays = Restarts(), []
    for _ in range(9):
        restarts = restarts.died(1.0)
        delays.append(restarts.delay)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(0, 10_000))
def test_a_minute_of_life_begins_anew(failures: int) -> None:
    assert Restarts(failures).died(60.0).delay == 0.5


@given(st.lists(st.floats(0, 1000)))
def test_the_delay_is_always_bounded(lives: list[float]) -> None:
    restarts = Restarts()
    for lived in lives:
        restarts = restarts.died(lived)
        assert 0.5 <= restarts.delay <= 30
