"""What SQL sees of a table row.

The row itself is opaque bytes under a key. A projection says which rows of which SQL tables stand for it in the same
file, so that lists, filters and queues are index look-ups. Projected tables have no changelog: they follow the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Params = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One projected SQL table.

    `ddl` creates the table and its indexes. `delete` takes `(key,)` and removes all that one row projects. `insert`
    takes one `Params`. `many`: a row may project fewer SQL rows than its predecessor did, so that these are deleted
    before each write; without it `insert` must replace by key.
    """

    ddl: str
    delete: str
    insert: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Projected:
    """`applied` orders writes of one row: the higher one stays. `rows` are the inserts, one sequence for each view."""

    applied: int
    rows: tuple[Sequence[Params], ...] = ()


class Projection(Protocol):
    """Pure: the same bytes always project alike. Raises ValueError for bytes that are no row."""

    @property
    def views(self) -> tuple[View, ...]: ...

    def project(self, key: bytes, value: bytes) -> Projected: ...
