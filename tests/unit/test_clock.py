from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.clock import Clock, FrozenClock, from_rfc3339, rfc3339


def test_the_clock_is_the_systems() -> None:
    clock = Clock()
    assert clock.now() == pytest.approx(time.time(), abs=5)
    first = clock.monotonic()
    assert first <= clock.monotonic()


def test_a_frozen_clock_stands_until_moved() -> None:
    clock = FrozenClock(100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 100.0)
    clock.move(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 102.5)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 24, 16, 3, 0, 125_000, UTC).timestamp()
    assert rfc3339(moment) == "2026-11-24T16:03:00.125Z"
    assert rfc3339(0.9996) == "1970-01-01T00:00:01.000Z"


@given(st.integers(0, 250_000_000_000_000))
def test_what_is_written_reads_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(from_rfc3339(rfc3339(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T16:03:00Z",
        "2026-11-24t16:03:00z",
        "2026-11-24T16:03:00.0Z",
        "2026-11-24T16:03:00.000000000Z",
        "2026-11-24T18:33:00+02:30",
        "2026-11-24T15:03:00-01:00",
    ],
)
def test_each_form_of_rfc_3339_is_read(text: str) -> None:
    assert from_rfc3339(text) == datetime(2026, 11, 24, 16, 3, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-24", "16:03", "2026-11-24T16:03:00", "2026-11-24T16:03Z", "20261124T160300Z"),
        *("2026-W48-2T00:00:00Z", "2026-11-24x16:03:00Z", "2026-11-24T16:03:00,5Z", "2026-11-24T16:03:00+02"),
        *("2026-13-24T16:03:00Z", "2026-11-24T16:03:00+24:00", "2026-11-24T16:03:00Z\n", "\uff12026-11-24T16:03:00Z"),
        "1795536180",
    ],
)
def test_all_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_rfc3339(text)


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,12})?(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        moment = from_rfc3339(text)
    except ValueError:
        return
    # What is read is a moment that a datetime can hold, and of RFC 3339's first length.
    assert -62_135_683_200 - 86_400 <= moment <= 253_402_300_800 + 86_400
    assert len(text) >= len("2026-11-24T16:03:00Z")
