"""Table `backoffs`: how each subscription's handler fares, per partition of the log."""

from __future__ import annotations

from certes.backoffs import load
from tables.projection import Projected, View

NAME = "backoffs"


class BackoffsProjection:
    """The row says all; there is nothing to project but its order."""

    @property
    def views(self) -> tuple[View, ...]:
        return ()

    def project(self, key: bytes, value: bytes) -> Projected:  # noqa: ARG002 - the row has its key
        return Projected(load(value).applied)
