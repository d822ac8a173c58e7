"""The row of table `backoffs`: how a subscription's handler fares, as one partition of the log saw it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from certes.delivery import Outcome
from certes.errors import Fatal

ROW_VERSION = 1


class BackoffRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Failures in a row of one subscription in one partition. Times are ms since 1970; `applied` is a log offset."""

    v: int
    subscription: str
    applied: int = -1
    failures: int = 0
    failing_since: int | None = None
    last_failure_at: int | None = None
    last_error: str | None = None
    last_success_at: int | None = None

    @classmethod
    def first(cls, subscription: str) -> BackoffRow:
        return cls(v=ROW_VERSION, subscription=subscription)

    def after(self, outcomes: Iterable[Outcome], *, offset: int) -> BackoffRow:
        """The row after the outcomes of the record at `offset`; the same object when they say nothing new.

        Successes of a healthy handler are not written: one changelog row per delivery would double the work.
        """
        if offset <= self.applied:
            return self
        row = self
        for outcome in outcomes:
            if outcome.state == "delivered":
                row = _succeeded(row, outcome)
            elif outcome.state in ("waiting", "exhausted"):  # the others were closed without a call
                row = _failed(row, outcome)
        return row if row is self else msgspec.structs.replace(row, applied=offset)


def _succeeded(row: BackoffRow, outcome: Outcome) -> BackoffRow:
    if not row.failures:
        return row
    return msgspec.structs.replace(
        row, failures=0, failing_since=None, last_success_at=outcome.at + outcome.duration_ms
    )


def _failed(row: BackoffRow, outcome: Outcome) -> BackoffRow:
    ended = outcome.at + outcome.duration_ms
    return msgspec.structs.replace(
        row,
        failures=row.failures + 1,
        failing_since=row.failing_since or ended,
        last_failure_at=ended,
        last_error=outcome.error,
    )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(BackoffRow)


def dump(row: BackoffRow) -> bytes:
    return _ENCODER.encode(row)


def load(stored: bytes) -> BackoffRow:
    """Read a stored row. Raises Fatal for a format that this version does not know."""
    row = _DECODER.decode(stored)
    if row.v > ROW_VERSION:
        raise Fatal(f"a back-off row has format {row.v}, this Certes reads up to {ROW_VERSION}: upgrade this worker")
    return row
