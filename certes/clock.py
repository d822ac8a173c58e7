"""The one clock. Nothing else in Certes asks the system for the time, so tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """System time. `now` is seconds since the epoch (UTC); `monotonic` is seconds that never step back."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class FrozenClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += seconds


def rfc3339(at: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds, e.g. `2026-11-24T16:03:00.125Z`."""
    moment = datetime.fromtimestamp(round(at * 1000) / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def from_rfc3339(text: str) -> float:
    """The reverse of `rfc3339`; any RFC 3339 offset is read. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write 2026-11-24T16:03:00Z")
    return moment.timestamp()
