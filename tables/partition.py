"""One partition of one table: a SQLite file with its rows, its views and the changelog offset they stand for.

The saved offset never runs ahead of the rows: it is written in the same transaction as, or one later than, the rows
before it. Rows may run ahead of the changelog; whoever folds the log again writes them again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from certes.errors import Fatal
from tables.projection import Projected, Projection

logger = logging.getLogger(__name__)

Row = tuple[bytes, bytes | None]

FORMAT = 1
FLUSH_ROWS = 500  # bounds the buffer, and how long one flush holds the event loop

_SCHEMA = """
create table if not exists rows (key blob primary key, value blob not null, applied integer not null);
create table if not exists meta (name text primary key, value) without rowid;
"""
_UPSERT = """
insert into rows (key, value, applied) values (?, ?, ?)
on conflict (key) do update set value = excluded.value, applied = excluded.applied
"""


class Unusable(Exception):
    """The file cannot be continued, but its rows can be had again from the changelog."""


class PartitionFile:
    """Reads and writes of one file. Not for several threads at a time; opening and closing may block on the disk."""

    def __init__(self, path: Path, projection: Projection) -> None:
        self.path = path
        self._projection = projection
        self._buffer: list[Row] = []
        self._latest: dict[bytes, bytes | None] = {}
        self._db = _connect(path)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise
        self._offset: int | None = self._meta("offset")
        self._saved_offset = self._offset

    @property
    def offset(self) -> int | None:
        """The last changelog offset whose row is in here; None: not known, read all of it."""
        return self._offset

    @offset.setter
    def offset(self, offset: int) -> None:
        self._offset = offset

    def put(self, key: bytes, value: bytes | None) -> None:
        """Buffer a row; None deletes. Read back at once by `get`, by SQL after `commit`."""
        self._buffer.append((key, value))
        self._latest[key] = value
        if len(self._buffer) >= FLUSH_ROWS:
            self._flush()

    def get(self, key: bytes) -> bytes | None:
        if key in self._latest:
            return self._latest[key]
        found = self._db.execute("select value from rows where key = ?", (key,)).fetchone()
        return found[0] if found else None

    def all_keys(self) -> Iterable[bytes]:
        self._flush()
        return (key for (key,) in self._db.execute("select key from rows").fetchall())

    def count(self) -> int:
        self._flush()
        return int(self._db.execute("select count(*) from rows").fetchone()[0])

    def apply(self, rows: Iterable[Row], offset: int) -> None:
        """Rows of the changelog up to `offset`, in order: they and the offset become visible together or not at all."""
        self._buffer.extend(rows)
        self._offset = offset
        self.commit()

    def commit(self) -> None:
        """End the running transaction: what was put, then the offset."""
        self._flush()
        if self._offset != self._saved_offset:
            self._begin()
            self._set_meta("offset", self._offset)
            self._saved_offset = self._offset
        if self._db.in_transaction:
            self._db.execute("commit")

    def close(self) -> None:
        self.commit()
        self._set_meta("clean", 1)
        self._db.close()

    def _flush(self) -> None:
        if not self._buffer:
            return
        self._begin()
        self._write(self._winners())
        self._buffer.clear()
        self._latest.clear()

    def _winners(self) -> dict[bytes, tuple[bytes, Projected] | None]:
        """The last word on each key: a row with a lower `applied` than its predecessor's is a stale one."""
        won: dict[bytes, tuple[bytes, Projected] | None] = {}
        for key, value in self._buffer:
            if value is None:
                won[key] = None
                continue
            projected = self._projection.project(key, value)
            if projected.applied >= self._applied(key, won):
                won[key] = value, projected
        return won

    def _applied(self, key: bytes, won: dict[bytes, tuple[bytes, Projected] | None]) -> int:
        if key in won:
            earlier = won[key]
            return -1 if earlier is None else earlier[1].applied
        found = self._db.execute("select applied from rows where key = ?", (key,)).fetchone()
        return found[0] if found else -1

    def _write(self, won: dict[bytes, tuple[bytes, Projected] | None]) -> None:
        gone = [(key,) for key, row in won.items() if row is None]
        kept = [(key, *row) for key, row in won.items() if row is not None]
        self._db.executemany("delete from rows where key = ?", gone)
        self._db.executemany(_UPSERT, [(key, value, projected.applied) for key, value, projected in kept])
        replaced = gone + [(key,) for key, _, _ in kept]
        for number, view in enumerate(self._projection.views):
            self._db.executemany(view.delete, replaced if view.many else gone)
            self._db.executemany(view.insert, [p for _, _, projected in kept for p in projected.rows[number]])

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("begin")

    def _prepare(self) -> None:
        version = int(self._db.execute("pragma user_version").fetchone()[0])
        if version > FORMAT:
            raise Fatal(
                f"{self.path} has format {version}, this version of Certes knows {FORMAT}: "
                "start the newer version, or move the directory away to rebuild it from the changelog"
            )
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(_SCHEMA)
        if version:
            self._check()
        self._create_views()
        self._db.execute(f"pragma user_version = {FORMAT}")
        self._set_meta("clean", 0)

    def _check(self) -> None:
        """A file that was closed in order is taken as it is: the check reads all of it."""
        if not self._meta("clean"):
            answer = self._db.execute("pragma quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise Unusable(str(answer))
        if self._meta("views") != self._ddl:
            raise Unusable("its views are those of another version")

    def _create_views(self) -> None:
        self._db.executescript(self._ddl)
        self._set_meta("views", self._ddl)

    @property
    def _ddl(self) -> str:
        return "\n".join(view.ddl for view in self._projection.views)

    def _meta(self, name: str) -> Any:
        found = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return found[0] if found else None

    def _set_meta(self, name: str, value: int | str | None) -> None:
        self._db.execute("insert or replace into meta (name, value) values (?, ?)", (name, value))


def open_partition(path: Path, projection: Projection) -> PartitionFile:
    """Open or create the file. One that cannot be continued is set aside and begun anew, to be read from the changelog.

    Raises Fatal for a file of a newer version, sqlite3.Error or OSError when the disk does not allow it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return PartitionFile(path, projection)
    except Unusable as exc:
        set_aside(path, str(exc))
    except sqlite3.DatabaseError as exc:
        if not _is_damage(exc):
            raise
        set_aside(path, str(exc))
    return PartitionFile(path, projection)


def set_aside(path: Path, reason: str) -> Path:
    """Rename a closed file and what belongs to it, so that somebody can look at it. Returns the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    logger.error("set %s aside as %s: %s", path, aside.name, reason, extra={"action": "set_aside"})
    return aside


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute("pragma synchronous = normal")
    # The store checkpoints from another thread: here it would hold up the event loop with an fsync.
    db.execute("pragma wal_autocheckpoint = 20000")
    return db


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    return exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
