from __future__ import annotations

from collections import defaultdict, deque
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.chunk import Chunk
from agents.transport.consumer import Consumer
from tests.apps.records import record

LOG, CHANGELOG = TP("log", 0), TP("changelog", 0)


class FakeThread:
    """Kafka as the consumer's thread sees it."""

    def __init__(self) -> None:
        self.saved: dict[TP, int | None] = {LOG: None}
        self.commits: list[dict[TP, int]] = []
        self.accept = True
        self.seeks: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {LOG, CHANGELOG}

    async def committed(self, tps: set[TP]) -> dict[TP, int | None]:
        return {tp: self.saved[tp] for tp in tps}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 40)

    async def seek_wait(self, positions: dict[TP, int]) -> None:
        self.seeks.append(positions)

    async def commit(self, offsets: dict[TP, int]) -> bool:
        if self.accept:
            self.commits.append(dict(offsets))
        return self.accept


def consumer() -> Any:
    """A consumer without the services below it."""

    async def flush() -> None:
        """Nothing to wait for."""

    made: Any = Consumer.__new__(Consumer)
    made.app = SimpleNamespace(
        consumer_generation_id=1,
        client_only=False,
        in_recovery=False,
        topics=SimpleNamespace(acks_enabled_for=lambda topic: topic == "log"),
        tables=SimpleNamespace(changelog_topics={"changelog"}, on_commit=lambda _offsets: None),
        producer=SimpleNamespace(flush=flush),
        monitor=SimpleNamespace(on_tp_commit=lambda _offsets: None),
    )
    made.in_transaction, made.log = False, MagicMock()
    made._thread = FakeThread()
    made._handed_out = defaultdict(deque)
    made._acked, made._acked_index = defaultdict(list), defaultdict(set)
    made._committed_offset = defaultdict(lambda: None)
    made._active_partitions, made._buffered_partitions, made._paused_partitions = {LOG}, set(), set()
    made.flow_active = True
    return made


def hand_out(reading: Any, *offsets: int) -> list[Chunk]:
    made = [Chunk(LOG, [record(offset)], 1) for offset in offsets]
    reading._handed_out[LOG].extend(made)
    return made


async def commit(reading: Any) -> bool:
    offsets = reading._filter_committable_offsets(reading._filter_tps_with_pending_acks())
    return bool(offsets) and await reading._commit_offsets(offsets)


async def test_nothing_is_committed_past_an_unacknowledged_chunk() -> None:
    """#606: Faust jumps over one that stands exactly at the committed offset."""
    reading = consumer()
    made = hand_out(reading, 5, 6, 7)
    reading._committed_offset[LOG] = 5
    made[1].acked = made[2].acked = True
    assert not await commit(reading)
    made[0].acked = True
    assert await commit(reading)
    assert reading._thread.commits == [{LOG: 8}]
    assert reading.in_work() == {}


@given(order=st.permutations(range(6)), steps=st.integers(0, 6))
async def test_committed_is_the_acknowledged_prefix_for_any_order(order: list[int], steps: int) -> None:
    reading = consumer()
    offsets = [3, 4, 9, 10, 15, 20]  # with gaps, as transaction markers leave them
    made = hand_out(reading, *offsets)
    for index in order[:steps]:
        made[index].acked = True
        await commit(reading)
    acked = set(order[:steps])
    prefix = next((i for i in range(6) if i not in acked), 6)
    last = reading._thread.commits[-1][LOG] if reading._thread.commits else None
    assert last == (offsets[prefix - 1] + 1 if prefix else None)


async def test_a_failed_commit_is_tried_again() -> None:
    """#316: Faust counts it as done."""
    reading = consumer()
    hand_out(reading, 5)[0].acked = True
    reading._thread.accept = False
    assert not await commit(reading)
    reading._thread.accept = True
    assert await commit(reading)
    assert reading._thread.commits == [{LOG: 6}]


async def test_a_seek_goes_to_what_is_committed_and_forgets_what_was_handed_out() -> None:
    reading = consumer()
    reading._thread.saved[LOG] = 7
    hand_out(reading, 7, 8)[1].acked = True
    await reading.perform_seek()
    assert reading._thread.seeks == [{LOG: 7}]
    assert reading.in_work() == {}
    assert not await commit(reading)


async def test_a_partition_that_was_never_committed_begins_at_its_beginning() -> None:
    """Aiokafka's own seek leaves it where it is, past what was read and dropped."""
    reading = consumer()
    await reading.perform_seek()
    assert reading._thread.seeks == [{LOG: 40}]


async def test_what_was_fetched_for_another_generation_is_dropped() -> None:
    reading = consumer()
    delivered: list[Chunk] = []

    async def deliver(chunk: Chunk) -> None:
        delivered.append(chunk)

    reading._deliver = deliver
    await reading._hand_out(0, {LOG: [record(1)]})
    assert delivered == []
    await reading._hand_out(1, {LOG: [record(1)], TP("log", 1): [record(1)]})
    assert [chunk.tp for chunk in delivered] == [LOG]


async def test_a_fetch_names_its_partitions_by_a_copy() -> None:
    """Faust's own set may become empty meanwhile, and aiokafka takes that for all partitions."""
    reading = consumer()
    asked: list[set[TP]] = []

    async def fetch(active: set[TP], _seconds: float) -> tuple[int, dict[TP, Any]]:
        reading._active_partitions.clear()
        asked.append(active)
        return 1, {}

    reading._thread.fetch = fetch
    await reading._fetch()
    assert asked == [{LOG}]


@pytest.mark.parametrize("topics", [None, {"log"}, {LOG}])
def test_commits_can_be_asked_for_by_topic(topics: Any) -> None:
    reading = consumer()
    hand_out(reading, 1)
    assert list(reading._filter_tps_with_pending_acks(topics)) == [LOG]
    assert list(reading._filter_tps_with_pending_acks({"other"})) == []
