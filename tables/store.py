"""The `sqlite://` store of Faust: one file per partition below `{data_dir}/{table}`.

Faust asks a store to survive what Kafka does to a worker: partitions come, go and come back, rows are read again from
any earlier offset. An error of the store ends the worker with its reason; Faust would log it and wait for ever.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, cast

from faust.stores import STORES
from faust.stores.base import SerializedStore
from faust.types import TP, AppT, CollectionT, EventT
from mode import Service
from yarl import URL

from certes.clock import Clock
from certes.errors import Fatal, Unavailable
from certes.records import Record
from tables.host import Host
from tables.partition import PartitionFile, open_partition, set_aside
from tables.projection import Projection
from tables.reader import checkpoint, query

T = TypeVar("T")

SCHEME = "sqlite"
COMMIT_SECONDS = 0.01
CHECKPOINT_SECONDS = 5.0
READERS = 4


class Owner(Protocol):
    """The table whose rows these are."""

    @property
    def name(self) -> str: ...
    @property
    def projection(self) -> Projection: ...
    @property
    def retention_seconds(self) -> float: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def changelog_topic_name(self) -> str: ...


def register() -> None:
    """Make `sqlite://` known to Faust. Called where the app is built."""
    STORES.aliases[SCHEME] = f"{__name__}:{Store.__name__}"


class Store(SerializedStore[bytes, bytes]):
    """All calls on the event loop's thread, except that files are opened, closed and read in others."""

    def __init__(self, url: str | URL, app: AppT, table: CollectionT, **kwargs: Any) -> None:
        super().__init__(url, app, table, **kwargs)
        self._host = cast("Host", app)
        self._owner = cast("Owner", table)
        self._files: dict[int, PartitionFile] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"read-{self._owner.name}")

    # -- the hot path

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Write a row (None deletes it); on disk within COMMIT_SECONDS. Raises Fatal for a partition not held here."""
        file = self._held(partition)
        try:
            file.put(key, value)
        except (sqlite3.Error, ValueError) as exc:
            self._fail(exc)
        self._commit_soon()

    def read_row(self, partition: int, key: bytes) -> bytes | None:
        """The row as last put. Raises Fatal for a partition not held here."""
        return self._held(partition).get(key)

    # -- reading beside it

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions held here, as owner or as standby."""
        return frozenset(self._files)

    async def read(
        self, partition: int, sql: str, params: Sequence[object] = (), *, seconds: float = 5.0
    ) -> list[tuple[Any, ...]]:
        """SQL on the table `rows (key, value, applied)` and the projected ones, in a thread; sees all that was put.

        Raises Unavailable when the partition is not held here or the statement takes longer than `seconds`.
        """
        if partition not in self._files:
            raise Unavailable(f"partition {partition} of table {self._owner.name} is not on this worker")
        file = self._files[partition]
        self._or_die(file.commit)
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._readers, lambda: query(file.path, sql, params, seconds=seconds, clock=self._owner.clock))

    # -- the changelog

    def persisted_offset(self, tp: TP) -> int | None:
        file = self._files.get(tp.partition)
        return file.offset if file else None

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Kafka has acknowledged the changelog up to `offset`; a partition that has left needs it no more."""
        file = self._files.get(tp.partition)
        if file is not None:
            file.offset = offset
            self._commit_soon()

    def apply(self, partition: int, records: Sequence[Record]) -> None:
        """Rows read from the changelog and their offset, in one transaction. What retention has taken stays away."""
        oldest = (self._owner.clock.now() - self._owner.retention_seconds) * 1000
        rows = [(record.key, record.value) for record in records if record.key and record.timestamp >= oldest]
        file = self._held(partition)
        self._or_die(lambda: file.apply(rows, records[-1].offset))

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]], to_key: Any, to_value: Any) -> None:  # noqa: ARG002 - Faust's signature
        for event in batch:
            self.apply(event.message.partition, getattr(event.message, "records", [event.message]))

    async def rebuild(self, partition: int, reason: str) -> None:
        """Begin anew without rows: the changelog is not the one this file was made from."""
        file = self._files.pop(partition)
        await asyncio.to_thread(file.close)
        set_aside(file.path, reason)
        self._files[partition] = await self._open(partition)

    # -- partitions come and go

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        del revoked, newly_assigned, generation_id  # what is assigned now says it all
        wanted = {tp.partition for tp in assigned if tp.topic == self._owner.changelog_topic_name}
        for partition in self._files.keys() - wanted:
            await asyncio.to_thread(self._or_die, self._files.pop(partition).close)
        for partition in sorted(wanted - self._files.keys()):
            self._files[partition] = await self._open(partition)

    async def on_stop(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        while self._files:
            await asyncio.to_thread(self._files.popitem()[1].close)
        self._readers.shutdown()

    @Service.timer(CHECKPOINT_SECONDS)
    async def _checkpoint(self) -> None:
        for file in list(self._files.values()):
            await asyncio.to_thread(checkpoint, file.path)

    async def _open(self, partition: int) -> PartitionFile:
        path: Path = self._host.data_dir / self._owner.name / f"{partition}.db"
        return await asyncio.to_thread(self._or_die, lambda: open_partition(path, self._owner.projection))

    def _held(self, partition: int) -> PartitionFile:
        try:
            return self._files[partition]
        except KeyError:
            raise Fatal(f"partition {partition} of table {self._owner.name} is not held by this worker") from None

    def _commit_soon(self) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(COMMIT_SECONDS, self._commit)

    def _commit(self) -> None:
        self._tick = None
        for file in self._files.values():
            self._or_die(file.commit)

    def _or_die(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except (sqlite3.Error, OSError, ValueError, Fatal) as exc:
            self._fail(exc)

    def _fail(self, exc: Exception) -> NoReturn:
        self._host.die(f"the store of table {self._owner.name} failed: {exc}")

    def reset_state(self) -> None:
        """For `faust reset`, without a running worker: the next start reads all of the changelog."""
        shutil.rmtree(self._host.data_dir / self._owner.name, ignore_errors=True)

    async def backup_partition(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError("the changelog is the backup of a table")

    def restore_backup(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError("a table is restored from its changelog")

    # -- Faust's mapping interface: reading only, rows are written by `put`

    def _get(self, key: bytes) -> bytes | None:
        return next((value for file in self._files.values() if (value := file.get(key)) is not None), None)

    def _set(self, key: bytes, value: bytes | None) -> None:
        raise NotImplementedError("rows are written with an explicit partition: table.put(partition, key, value)")

    def _del(self, key: bytes) -> None:
        raise NotImplementedError("rows are deleted with an explicit partition: table.put(partition, key, None)")

    def _clear(self) -> None:
        raise NotImplementedError("a table is emptied by its retention")

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None

    def _size(self) -> int:
        return sum(file.count() for file in self._files.values())

    def _iterkeys(self) -> Iterator[bytes]:
        for file in self._files.values():
            yield from file.all_keys()

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        for file in self._files.values():
            yield from ((key, value) for key in file.all_keys() if (value := file.get(key)) is not None)

    def _itervalues(self) -> Iterator[bytes | None]:
        return (value for _, value in self._iteritems())
