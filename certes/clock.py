"""The one clock. Nothing else in Certes asks the system for the time, so tests can move it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII | re.IGNORECASE)


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
    seconds, milliseconds = divmod(round(at * 1000), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def from_rfc3339(text: str) -> float:
    """The reverse of `rfc3339`; any RFC 3339 offset is read. Raises ValueError for anything else."""
    # fromisoformat alone reads much more of ISO 8601: week dates, times without a zone.
    if not _RFC3339.match(text):
        raise ValueError(f"{text[:64]!r} is no RFC 3339 time with a zone: write 2026-11-24T16:03:00Z")
    return datetime.fromisoformat(text.upper()).timestamp()
