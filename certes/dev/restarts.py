"""How long to wait before a child that died is started again."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
GOOD_LIFE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """`failures` counts deaths in a row; a life of a minute ends the row."""

    failures: int = 0

    @property
    def delay(self) -> float:
        """Seconds to wait after the latest death."""
        doublings = min(max(self.failures - 1, 0), 10)
        return min(FIRST_SECONDS * 2.0**doublings, LONGEST_SECONDS)

    def died(self, lived: float) -> Restarts:
        """The state after a death; `lived` in seconds."""
        return Restarts(1 if lived >= GOOD_LIFE_SECONDS else self.failures + 1)
