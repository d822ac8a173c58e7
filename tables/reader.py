"""Read-only SQL on a partition's file, for threads: it sees what is committed and never holds up the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from certes.clock import Clock
from certes.errors import Unavailable

_STEPS = 10_000  # SQLite instructions between two looks at the clock: about a millisecond


def query(path: Path, sql: str, params: Sequence[object], *, seconds: float, clock: Clock) -> list[tuple[Any, ...]]:
    """All rows of one statement. Raises Unavailable when it takes longer than `seconds`."""
    deadline = clock.monotonic() + seconds
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.set_progress_handler(lambda: clock.monotonic() > deadline, _STEPS)
        try:
            return db.execute(sql, params).fetchall()
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise Unavailable(f"the query took longer than {seconds:g} s: narrow its filter") from exc
            raise


def checkpoint(path: Path) -> None:
    """Move what the write-ahead log holds into the file, as far as that holds up nobody."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma wal_checkpoint(passive)")
