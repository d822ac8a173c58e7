"""A Faust table whose rows are written with an explicit partition, as bytes.

`table[key] = value` finds its partition in a context variable, sends one changelog record per call through a buffer
that Faust's flush gives up on, and costs about 100 µs. `put` says where the row belongs and costs about two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import faust
from faust.types import TP, AppT, TopicT

from certes.clock import Clock
from certes.errors import TooLarge
from tables.host import Host, Lane
from tables.projection import Projection
from tables.raw import RawSchema
from tables.store import SCHEME, Store

ROW_BYTES = 256 << 10
DAY = 86_400.0


class Table(faust.Table[bytes, bytes]):
    """Rows keyed by bytes. `retention_seconds` is how long a changelog record lives."""

    def __init__(
        self, app: AppT, *, projection: Projection, retention_seconds: float, row_bytes: int = ROW_BYTES, **kwargs: Any
    ) -> None:
        self.projection = projection
        self.retention_seconds = retention_seconds
        self.row_bytes = row_bytes
        self.clock = Clock()
        self._lanes: dict[int, Lane] = {}
        super().__init__(
            app,
            store=f"{SCHEME}://",
            schema=RawSchema(),
            extra_topic_configs=changelog_config(retention_seconds),
            **kwargs,
        )

    @property
    def store(self) -> Store:
        return cast("Store", self.data)

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Write a row, None deletes it: at once to the store, and to the changelog before the next commit.

        Raises TooLarge, with nothing written, and Fatal when the partition is not held by this worker.
        """
        if value is not None and len(key) + len(value) > self.row_bytes:
            raise TooLarge(
                f"a row of table {self.name} has {len(key) + len(value)} bytes, at most {self.row_bytes} are kept"
            )
        self.store.put(partition, key, value)
        (self._lanes.get(partition) or self._lane(partition)).add(key, value)

    def read_row(self, partition: int, key: bytes) -> bytes | None:
        """The row as last put, without waiting. Raises Fatal when the partition is not held by this worker."""
        return self.store.read_row(partition, key)

    async def query(
        self, partition: int, sql: str, params: Sequence[object] = (), *, seconds: float = 5.0
    ) -> list[tuple[Any, ...]]:
        """Read-only SQL on one partition, see `Store.read`."""
        return await self.store.read(partition, sql, params, seconds=seconds)

    def on_key_set(self, key: Any, value: Any) -> None:
        raise NotImplementedError("rows are written with an explicit partition: table.put(partition, key, value)")

    def on_key_del(self, key: Any) -> None:
        raise NotImplementedError("rows are deleted with an explicit partition: table.put(partition, key, None)")

    def _lane(self, partition: int) -> Lane:
        lane = cast("Host", self.app).changelog.lane(
            TP(self.changelog_topic_name, partition), self.store.set_persisted_offset
        )
        self._lanes[partition] = lane
        return lane

    def _new_changelog_topic(self, **_kwargs: Any) -> TopicT:
        return super()._new_changelog_topic(compacting=True, deleting=True, retention=self.retention_seconds)


def changelog_config(retention_seconds: float) -> dict[str, str]:
    """Compaction waits an hour, so that a stale row of a former owner cannot be all that is left of its key; tombstones
    stay for longer than any worker may be away and come back with its files.
    """
    return {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(int(retention_seconds * 1000)),
        "min.compaction.lag.ms": str(3_600_000),
        "delete.retention.ms": str(int(8 * DAY * 1000)),
    }


def add_table(
    app: AppT, *, name: str, projection: Projection, partitions: int, log_retention_seconds: float, **kwargs: Any
) -> Table:
    """Declare a table of the app. `partitions` is the log's number of partitions, its changelog has the same."""
    table = Table(
        app,
        name=name,
        projection=projection,
        partitions=partitions,
        retention_seconds=log_retention_seconds + DAY,
        beacon=app.tables.beacon,
        **kwargs,
    )
    app.tables.add(table)
    return table
