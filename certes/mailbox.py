"""The mailbox: the ordered set of due deliveries in a worker. It lends; nothing leaves it until it is settled.

Only the fold puts deliveries in, moves them and takes them out, always as the row says (`put`, `remove`). The consumer
borrows the best one (`take`) and releases the room it held when its call has ended (`release`); the delivery itself
stays lent until the fold has read its outcome, so that it is never called twice by this worker. One that led to no
outcome is given back.

Order: higher priority first, then earlier due, then earlier in the log; a subscription has at most `max_in_flight`
calls running. All operations are logarithmic in the number of deliveries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Literal

Key = tuple[str, str]  # event, subscription
Rank = tuple[int, int, int, int]  # the smallest goes first


@dataclass(slots=True, frozen=True)
class Item:
    """A delivery that is not over. `due` is ms since 1970; `epoch` and `attempt` say which try it waits for."""

    partition: int
    offset: int
    event: str
    subscription: str
    priority: int
    due: int
    epoch: int
    attempt: int

    @property
    def key(self) -> Key:
        return (self.event, self.subscription)

    @property
    def rank(self) -> Rank:
        return (-self.priority, self.due, self.offset, self.partition)


@dataclass(slots=True)
class _Slot:
    """Where an item is: `free`, a heap holds it; `running`, a call is going on; `held`, the call has ended and the fold
    has not read its outcome yet. `said` is the fold's last word on a running item: None when it is over.
    """

    item: Item
    state: Literal["free", "running", "held"]
    said: Item | None


class _Queue:
    """The items of one subscription that are due, best first, and its calls that run.

    `head` is the rank under which the queue stands among the others, None when it does not stand there; `posted` are
    the ranks under which it has stood and whose entries have not come up yet.
    """

    __slots__ = ("head", "heap", "posted", "running")

    def __init__(self) -> None:
        self.heap: list[tuple[Rank, int, Item]] = []
        self.running = 0
        self.head: Rank | None = None
        self.posted: set[Rank] = set()


class Mailbox:
    """See the module.

    `limit` answers a subscription's `max_in_flight` (0 holds its deliveries). `changed` is called when something may
    have become takeable. Heap entries that are out of date are skipped when they come up.
    """

    def __init__(self, *, limit: Callable[[str], int], changed: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._changed = changed
        self._slots: dict[Key, _Slot] = {}
        self._of_partition: dict[int, set[Key]] = {}
        self._open: set[int] = set()
        self._queues: dict[str, _Queue] = {}
        self._heads: list[tuple[Rank, str]] = []
        self._delayed: list[tuple[int, int, Item]] = []
        self._order = count()  # breaks ties in the heaps

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def running(self) -> dict[str, int]:
        """Calls going on, by subscription."""
        return {name: queue.running for name, queue in self._queues.items() if queue.running}

    def is_running(self, event: str, subscription: str) -> bool:
        """Whether a call for the delivery is going on."""
        slot = self._slots.get((event, subscription))
        return slot is not None and slot.state == "running"

    def open(self, partition: int) -> None:
        """Lend from a partition. Until then, while its log is folded up to where it was, its items only wait."""
        if partition in self._open:
            return
        self._open.add(partition)
        for key in self._of_partition.get(partition, ()):
            self._offer(self._slots[key])
        self._changed()

    def close(self, partition: int) -> None:
        """Forget a partition that this worker no longer owns."""
        self._open.discard(partition)
        for key in list(self._of_partition.get(partition, ())):
            self.remove(*key)

    def put(self, item: Item) -> None:
        """The fold says: this delivery is open, and waits for this try."""
        slot = self._slots.get(item.key)
        if slot is None:
            slot = self._slots[item.key] = _Slot(item, "free", item)
        elif slot.state == "running":
            slot.said = item
        elif _same_try(slot.item, item):
            return  # the row was written again as it stands
        else:
            slot.item = slot.said = item
            slot.state = "free"
        self._of_partition.setdefault(item.partition, set()).add(item.key)
        self._offer(slot)

    def remove(self, event: str, subscription: str) -> None:
        """The fold says: this delivery is over. A call that is running ends by itself, and is not repeated."""
        key = (event, subscription)
        slot = self._slots.get(key)
        if slot is None:
            return
        self._of_partition[slot.item.partition].discard(key)
        if slot.state == "running":
            slot.said = None
        else:
            del self._slots[key]

    def take(self, now: int, *, at_least: int = 0) -> Item | None:
        """Borrow the best due item whose subscription has room, or None. `now` is ms since 1970.

        Only priorities of `at_least` and more are lent. Each item taken must be released, once.
        """
        self._ripen(now)
        while self._heads and -self._heads[0][0][0] >= at_least:
            rank, subscription = heappop(self._heads)
            queue = self._queues[subscription]
            queue.posted.discard(rank)
            if rank != queue.head:
                continue
            queue.head = None
            self._drop_outdated(queue)
            if queue.heap and queue.running < self._limit(subscription):
                if queue.heap[0][0] == rank:
                    return self._lend(queue, subscription)
                self._stand(queue, subscription)
            # Without room it stands again when a call ends or the limit changes.
        return None

    def release(self, item: Item) -> None:
        """The call of a borrowed item has ended: its subscription has room again. The item itself stays lent until the
        fold has read the outcome.
        """
        queue = self._queues[item.subscription]
        queue.running -= 1
        slot = self._slots[item.key]
        if slot.said is None:
            del self._slots[item.key]
        elif _same_try(slot.said, item):
            slot.state = "held"
        else:
            slot.item, slot.state = slot.said, "free"
            self._offer(slot)
        self._stand(queue, item.subscription)
        self._changed()

    def give_back(self, item: Item) -> None:
        """A released item whose call led to no outcome on the log: it may be taken again."""
        slot = self._slots.get(item.key)
        if slot is not None and slot.item is item and slot.state == "held":
            slot.state = "free"
            self._offer(slot)

    def next_due(self) -> int | None:
        """When a delayed item may become due (ms since 1970; perhaps too early), None without any."""
        return self._delayed[0][0] if self._delayed else None

    def refresh(self, subscription: str) -> None:
        """The limit of a subscription changed."""
        if subscription in self._queues:
            self._stand(self._queues[subscription], subscription)
            self._changed()

    def _lend(self, queue: _Queue, subscription: str) -> Item:
        item = heappop(queue.heap)[2]
        self._slots[item.key].state = "running"
        queue.running += 1
        self._drop_outdated(queue)
        self._stand(queue, subscription)
        return item

    def _offer(self, slot: _Slot) -> None:
        if slot.state == "free" and slot.said is not None and slot.item.partition in self._open:
            heappush(self._delayed, (slot.item.due, next(self._order), slot.item))
            self._changed()

    def _ripen(self, now: int) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            item = heappop(self._delayed)[2]
            if self._is_current(item):
                queue = self._queues.setdefault(item.subscription, _Queue())
                heappush(queue.heap, (item.rank, next(self._order), item))
                self._stand(queue, item.subscription)

    def _stand(self, queue: _Queue, subscription: str) -> None:
        """Let the queue stand among the others under the rank of its best item."""
        if queue.heap and (queue.head is None or queue.heap[0][0] < queue.head):
            queue.head = queue.heap[0][0]
            if queue.head not in queue.posted:
                queue.posted.add(queue.head)
                heappush(self._heads, (queue.head, subscription))

    def _is_current(self, item: Item) -> bool:
        slot = self._slots.get(item.key)
        return slot is not None and slot.item is item and slot.state == "free" and item.partition in self._open

    def _drop_outdated(self, queue: _Queue) -> None:
        while queue.heap and not self._is_current(queue.heap[0][2]):
            heappop(queue.heap)


def _same_try(one: Item, other: Item) -> bool:
    return (one.epoch, one.attempt) == (other.epoch, other.attempt)
