"""The broker agent: folds the log into the tables, chunk by chunk, and hands what is due to the mailbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from certes.event import EventRow, load
from certes.fold import Fold
from certes.mailbox import Mailbox
from certes.parking import Parking
from certes.payloads import Payloads
from certes.records import Arrival, Record
from tables.events import items

logger = logging.getLogger(__name__)

#: Records folded before others get the event loop: about 2 ms.
BREATH = 25
#: How soon a log end that is not known yet is asked for again.
LOOK_SECONDS = 0.05


class Broker:
    """Follows what the fold writes. `ends` answers the log end offset of a partition, None when it is not known yet.

    A partition is opened for deliveries once its log is folded up to where it ended when it came: outcomes of calls
    that its former owner made are in there.
    """

    def __init__(
        self, *, mailbox: Mailbox, payloads: Payloads, ends: Callable[[int], int | None], now_ms: Callable[[], int]
    ) -> None:
        self.mailbox = mailbox
        self.payloads = payloads
        self._ends = ends
        self._now_ms = now_ms
        self._next: dict[int, int] = {}
        self._opens_at: dict[int, int] = {}
        self._late_since: dict[int, int] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._moved = asyncio.Condition()
        self.fold: Fold
        self.parking: Parking

    def on_row(self, row: EventRow, arrival: Arrival | None) -> None:
        """The fold wrote a row: the mailbox and the parking follow it."""
        if row.state not in ("accepted", "delivering"):
            self.payloads.drop(row)
        elif arrival is not None and arrival.offset == row.offset:  # not a duplicate, whose value may differ
            self.payloads.remember(row, arrival.value)
        for one in row.deliveries:
            if not one.open:
                self.mailbox.remove(row.id, one.subscription)
        for item in items(row):
            self.mailbox.put(item)
        self.parking.see(row)

    def come(self, partition: int, *, starts_at: int) -> None:
        """A partition came. `starts_at` is the offset at which its log goes on."""
        self._next[partition] = starts_at
        self._look_again()

    def rebuild(self, stored: Iterable[bytes]) -> None:
        """Rows that are not over are put back where they were."""
        for value in stored:
            self.on_row(load(value), None)

    def leave(self, partition: int) -> None:
        self.mailbox.close(partition)
        self.parking.forget(partition)
        for known in (self._next, self._opens_at, self._late_since):
            known.pop(partition, None)

    async def take(self, partition: int, records: Sequence[Record]) -> None:
        """Fold a chunk."""
        self._late_since[partition] = records[0].timestamp
        for count, record in enumerate(records, 1):
            self.fold.apply(record)
            if count % BREATH == 0:
                await asyncio.sleep(0)
        self._next[partition] = records[-1].offset + 1
        if self._is_behind(partition):
            self._late_since[partition] = records[-1].timestamp  # what comes next was appended after it
        else:
            self._late_since.pop(partition, None)
        self.open_partitions()
        async with self._moved:
            self._moved.notify_all()

    def passed(self, partition: int, end: int) -> None:
        """There is nothing to fold before `end`."""
        if partition in self._next:
            self._next[partition] = max(self._next[partition], end)
            self.open_partitions()

    def open_partitions(self) -> None:
        """Lend from each partition that has been folded up to where it ended when it came."""
        for partition, reached in self._next.items():
            if partition not in self._opens_at:
                end = self._ends(partition)
                if end is None:
                    continue
                self._opens_at[partition] = end
            if reached >= self._opens_at[partition]:
                self.mailbox.open(partition)

    def _look_again(self) -> None:
        """A log to which nothing is added opens as well, once its end is known."""
        self.open_partitions()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._next.keys() - self._opens_at.keys():
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_again)

    def folded(self, partition: int) -> int:
        """The last offset folded, -1 without any."""
        return self._next.get(partition, 0) - 1

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._next)

    async def reached(self, partition: int, offset: int, *, seconds: float) -> bool:
        """Wait until an offset has been folded; False when it was not within `seconds`."""
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(lambda: self.folded(partition) >= offset), seconds)
            except TimeoutError:
                return False
        return True

    def behind(self) -> Mapping[int, int]:
        """Records that are on the log and not folded, by partition."""
        return {
            partition: max((self._ends(partition) or reached) - reached, 0) for partition, reached in self._next.items()
        }

    def lag_ms(self) -> int:
        """How long the oldest record that is not folded has waited, at most; 0 when all is folded."""
        now = self._now_ms()
        return max((now - self._since(partition, now) for partition in self._next), default=0)

    def _since(self, partition: int, now: int) -> int:
        if self._is_behind(partition):
            return self._late_since.setdefault(partition, now)
        self._late_since.pop(partition, None)
        return now

    def _is_behind(self, partition: int) -> bool:
        end = self._ends(partition)
        return end is not None and end > self._next[partition]
