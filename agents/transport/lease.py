"""The right to write, which a worker has as long as Kafka has heard from it lately.

Kafka gives the partitions of a silent worker to others, and nothing tells the worker: after a pause (SIGSTOP, a
suspended machine) it would send what it still holds, over the rows of the new owner.
"""

from __future__ import annotations

from agents.transport.end import Die
from certes.clock import Clock

MARGIN = 0.2  # of the session time-out: a produce that is checked now is still on its way for a while


class Lease:
    """Held from an assignment to its revocation. Times are `clock.monotonic()`; calls come from several threads, each
    a single assignment.
    """

    def __init__(self, *, session_seconds: float, clock: Clock, die: Die) -> None:
        self._seconds = session_seconds * (1 - MARGIN)
        self._clock = clock
        self._die = die
        self._renewed_at: float | None = None

    def grant(self) -> None:
        """Partitions have just been assigned."""
        self._renewed_at = self._clock.monotonic()

    def renew(self, at: float) -> None:
        """Kafka has answered a heartbeat that was sent at `at`."""
        if self._renewed_at is not None:
            self._renewed_at = max(at, self._renewed_at)

    def release(self) -> None:
        """Nothing is owned: what is sent now (outcomes) is right whoever sends it."""
        self._renewed_at = None

    def check(self) -> None:
        """Ends the process when the lease has run out. To be called before anything goes to Kafka."""
        renewed_at = self._renewed_at
        if renewed_at is not None and (silent := self._clock.monotonic() - renewed_at) > self._seconds:
            self._die(
                f"Kafka has not heard from this worker for {silent:.1f} s and may have given its partitions to others"
            )
