"""Reading: chunks out to the agents, acknowledged prefixes back to Kafka.

Per partition a queue of chunks in the order they were handed out; committed is the end of its acknowledged head. That
is right for any order of acknowledgements, needs no notion of gaps (transaction markers, compaction), and never
commits past a chunk that is still in work.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import TPorTopicSet
from mode import ServiceT

from agents.transport.chunk import Chunk, cut
from agents.transport.thread import ConsumerThread

FETCH_SECONDS = 0.25  # bounds the pause after a rebalance
IDLE_SECONDS = 0.005  # nothing to read from: no partitions, or all of their queues are full


class Consumer(driver.Consumer):
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._handed_out: defaultdict[TP, deque[Chunk]] = defaultdict(deque)
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- what others may ask

    def log_end(self, tp: TP) -> int | None:
        """The offset that the next record of an assigned partition will get, as of the last fetch; None before it."""
        return self.highwater(tp)

    def in_work(self) -> Mapping[TP, int]:
        """Per partition with unfinished chunks: the offset at which the oldest of them ends."""
        return {tp: queue[0].offset for tp, queue in self._handed_out.items() if queue}

    # -- reading

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._hand_out(*await self._fetch())
                await asyncio.sleep(0)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise

    async def _fetch(self) -> tuple[int, RecordMap]:
        """Records and their generation. The set of partitions is a copy: Faust pauses them by removing them from its
        own, and aiokafka takes an empty set for all there are.
        """
        if not self.flow_active:
            await self.wait(cast("Any", self.can_resume_flow))
        if active := set(self._get_active_partitions()):
            return await self._thread.fetch(active, FETCH_SECONDS)
        await self.sleep(IDLE_SECONDS)
        return self.app.consumer_generation_id, {}

    async def _hand_out(self, generation: int, records: RecordMap) -> None:
        """What may not be handed out any more is dropped: it belongs to an assignment that has ended, and each one
        begins with a seek.
        """
        for tp, batch in records.items():
            for chunk in cut(tp, batch, generation):
                if self.flow_active and generation == self.app.consumer_generation_id and self._is_read(tp):
                    await self._deliver(chunk)

    def _is_read(self, tp: TP) -> bool:
        return tp in self._get_active_partitions() or tp in self._buffered_partitions

    async def _deliver(self, chunk: Chunk) -> None:
        """Waits while the agent's queue is full, unless a rebalance begins: the chunk then stays unacknowledged."""
        if self.app.topics.acks_enabled_for(chunk.topic):
            self._handed_out[chunk.tp].append(chunk)
        await self.wait_first(self.callback(chunk), cast("Any", self.suspend_flow))

    # -- committing

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        return (tp for tp in list(self._handed_out) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        last = None
        for last in takewhile(lambda chunk: chunk.acked, self._handed_out[tp]):  # noqa: B007 - its last value is meant
            pass
        return None if last is None else last.offset + 1

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's signature
        """Faust counts a failed commit as done (#316): it is tried again."""
        before = {tp: self._committed_offset[tp] for tp in offsets}
        committed = await super()._commit_offsets(offsets, start_new_transaction)
        if committed:
            self._forget(offsets)
        else:
            self._committed_offset.update(before)
        return committed

    async def commit_and_end_transactions(self) -> None:
        """The last commit before partitions are given up: one that is under way began too early to cover it."""
        await self.maybe_wait_for_commit_to_finish()
        await super().commit_and_end_transactions()

    def _forget(self, offsets: Mapping[TP, int]) -> None:
        for tp, offset in offsets.items():
            queue = self._handed_out[tp]
            while queue and queue[0].offset < offset:
                queue.popleft()

    async def starts(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Where the log goes on after a rebalance: at what is committed, or at its beginning."""
        committed = await self._thread.committed(set(tps))
        fresh = [tp for tp, offset in committed.items() if offset is None]
        earliest = await self.earliest_offsets(*fresh) if fresh else {}
        return {tp: earliest[tp] if offset is None else offset for tp, offset in committed.items()}

    async def perform_seek(self) -> None:
        """Seek every partition of the log: aiokafka leaves one that was never committed where it is, and what was read
        and dropped before would be lost.
        """
        starts = await self.starts(tp for tp in self.assignment() if not self._is_changelog_tp(tp))
        self._handed_out.clear()
        await self.seek_wait(starts)
        self._committed_offset.update(starts)

    # -- rebalancing

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Faust forgets what was acknowledged and then commits; here the last commit comes first."""
        try:
            await super().on_partitions_revoked(revoked)
        finally:
            for tp in revoked:
                self._handed_out.pop(tp, None)
            cast("Any", self.app).lease.release()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Nothing flows until recovery says so, also for a worker that had no partitions before."""
        cast("Any", self.app).lease.grant()
        self.stop_flow()
        self.app.flow_control.suspend()
        self._handed_out.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """The watchdog looks after this; Faust's own check reads statistics that nobody keeps."""
