"""Back-off policies: a frozen value that answers "again after so long" or "give up". No clock, no I/O."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DAY = 86_400.0

Strategy = Literal["exponential", "linear", "logarithmic", "schedule"]
Seconds = Annotated[float, Field(ge=0, le=366 * DAY, allow_inf_nan=False)]


class Policy(BaseModel):
    """When a failed delivery is tried again. All durations are seconds.

    Delay before retry n = 1, 2, ..., before jitter and cap: exponential `initial * factor ** (n - 1)`, linear
    `initial * n`, logarithmic `initial * (1 + log2 n)`, schedule its n-th entry. A policy ends by `max_retries`, by
    `max_elapsed_seconds` since the first attempt could start, or by the end of its schedule; whichever comes first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = "exponential"
    initial_seconds: Seconds = 5.0
    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 3.0
    max_delay_seconds: Seconds = 21_600.0
    jitter: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.2
    schedule: tuple[Seconds, ...] = ()
    max_retries: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_elapsed_seconds: Seconds | None = 7 * DAY

    @model_validator(mode="after")
    def _schedule_has_entries(self) -> Self:
        if self.strategy == "schedule" and not self.schedule:
            raise ValueError("a schedule needs at least one entry, e.g. [5, 300, 1800]")
        return self

    def compact(self) -> dict[str, Any] | None:
        """What a row stores: the fields that differ from the default policy, None when none do."""
        return self.model_dump(mode="json", exclude_defaults=True) or None

    @classmethod
    def expand(cls, stored: dict[str, Any] | None) -> Policy:
        """The reverse of `compact`."""
        return DEFAULT if stored is None else cls.model_validate(stored)

    def retries(self) -> float:
        """How many retries the policy allows at most."""
        limit = math.inf if self.max_retries is None else self.max_retries
        return min(limit, len(self.schedule)) if self.strategy == "schedule" else limit

    def delay(self, retry: int, roll: float) -> float:
        """Seconds before retry `retry` (1, 2, ...), jitter and cap included; `roll` is a random number in 0..1.

        Jitter spreads the delay evenly over +-`jitter`. At the cap it spreads below it, up to the cap, so that
        deliveries that failed together do not return together.
        """
        base = min(self._base(retry), self.max_delay_seconds)
        low = base * (1 - self.jitter)
        high = min(base * (1 + self.jitter), self.max_delay_seconds)
        return min(low + (high - low) * roll, high)

    def next_delay(self, *, retry: int, elapsed: float, roll: float, at_least: float = 0.0) -> float | None:
        """Seconds to wait before retry `retry`, or None: the limit is reached, or would be before the retry starts.

        `elapsed` is the time since the first attempt was due; `at_least` what the handler asked for (`Retry-After`),
        obeyed up to `max_delay_seconds`.
        """
        if retry > self.retries():
            return None
        delay = max(self.delay(retry, roll), min(at_least, self.max_delay_seconds))
        if self.max_elapsed_seconds is not None and elapsed + delay > self.max_elapsed_seconds:
            return None
        return delay

    def _base(self, retry: int) -> float:
        if self.strategy == "linear":
            return self.initial_seconds * retry
        if self.strategy == "logarithmic":
            return self.initial_seconds * (1 + math.log2(retry))
        if self.strategy == "schedule":
            return self.schedule[min(retry, len(self.schedule)) - 1]
        if self.initial_seconds == 0:
            return 0.0
        try:
            return self.initial_seconds * math.pow(self.factor, retry - 1)
        except OverflowError:  # beyond any float, so beyond any cap
            return math.inf


DEFAULT = Policy()
