"""Payloads in memory: the budget, and reading together what lies together."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from dataclasses import dataclass

import pytest
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Gone, Unavailable
from certes.event import EventRow
from certes.payloads import ENTRY_BYTES, GAP, Cache, LogReader, Payloads, runs


def row(offset=1, value=b"{}"):
    return EventRow(
        v=1, id=f"evt_{offset}", partition=0, offset=offset, applied=offset, received_at=0, checksum=zlib.crc32(value),
        size=len(value), state="delivering", source="kafka",
    )  # fmt: skip


def entry(size):
    return b"x" * (size - ENTRY_BYTES)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400), st.booleans())))
def test_the_cache_never_holds_more_than_its_budget_and_loses_the_oldest_first(steps):
    cache, model = Cache(2_000), {}
    for offset, size, drop in steps:
        if drop:
            cache.drop(0, offset)
            model.pop(offset, None)
            continue
        cache.put(0, offset, b"x" * size)
        if offset not in model:
            model[offset] = size
            while sum(model.values()) + ENTRY_BYTES * len(model) > 2_000:
                del model[next(iter(model))]
        assert {offset for offset in range(21) if cache.get(0, offset) is not None} == set(model)


def test_a_value_over_the_whole_budget_does_not_drive_out_the_others():
    cache = Cache(2_000)
    cache.put(0, 1, entry(1_000))
    cache.put(0, 2, entry(2_001))
    assert cache.get(0, 1) is not None
    assert cache.get(0, 2) is None
    cache = Cache(0)
    cache.put(0, 1, b"")
    assert cache.get(0, 1) is None


def test_partitions_are_told_apart_and_the_first_value_stays():
    cache = Cache(10_000)
    cache.put(0, 1, b"a")
    cache.put(1, 1, b"b")
    cache.put(0, 1, b"c")
    assert (cache.get(0, 1), cache.get(1, 1), cache.get(2, 1)) == (b"a", b"b", None)


@dataclass
class Wanted:
    offset: int


@given(st.lists(st.integers(0, 5_000)).map(sorted))
def test_runs_hold_all_in_order_and_break_only_at_wide_gaps(offsets):
    found = [[one.offset for one in run] for run in runs(Wanted(offset) for offset in offsets)]
    assert [offset for run in found for offset in run] == offsets
    for run in found:
        assert all(later - earlier <= GAP for earlier, later in itertools.pairwise(run))
    for one, other in itertools.pairwise(found):
        assert other[0] - one[-1] > GAP


class Reader:
    def __init__(self, values):
        self.values = values
        self.asked = []

    async def value(self, partition, offset):
        self.asked.append(offset)
        found = self.values.get(offset)
        if isinstance(found, Exception):
            raise found
        return found


def payloads(values=(), budget=10_000):
    reader = Reader(dict(values))
    return Payloads(reader=reader, budget_bytes=budget), reader


async def test_a_fresh_payload_is_not_read_again_until_it_is_dropped():
    of, reader = payloads({1: b"{}"})
    of.remember(row(), b"{}")
    assert await of.value(row()) == b"{}"
    assert reader.asked == []
    of.drop(row())
    assert await of.value(row()) == b"{}"
    assert reader.asked == [1]


@pytest.mark.parametrize(("stored", "reason"), [(None, "retention"), (b"another", "another record")])
async def test_what_is_gone_or_is_another_record_is_never_delivered(stored, reason):
    of, _ = payloads({1: stored})
    with pytest.raises(Gone, match=reason):
        await of.value(row())


async def test_while_kafka_does_not_answer_it_is_unavailable():
    of, _ = payloads({1: Unavailable("Kafka does not answer")})
    with pytest.raises(Unavailable):
        await of.value(row())


class Broken:
    """A Kafka consumer that fails in one way after the other."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def assignment(self):
        raise self.errors.pop(0)


async def test_the_reader_survives_any_failure_and_tells_those_who_wait():
    reader = LogReader(kafka="nowhere", topic="t")
    running = asyncio.create_task(reader._run(Broken(ZeroDivisionError(), TimeoutError(), *[KafkaError()] * 2)))
    for name in ("ZeroDivisionError", "TimeoutError"):
        with pytest.raises(Unavailable, match=name):
            await asyncio.wait_for(reader.value(0, 1), 1)
    given_up = asyncio.create_task(reader.value(0, 1))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="KafkaError"):
        await asyncio.wait_for(reader.value(0, 2), 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_log_that_is_cut_while_it_is_read_has_no_such_record():
    reader = LogReader(kafka="nowhere", topic="t")
    running = asyncio.create_task(reader._run(Broken(OffsetOutOfRangeError())))
    assert await asyncio.wait_for(reader.value(0, 1), 1) is None
    running.cancel()


async def test_a_reader_that_was_never_started_can_be_stopped():
    await LogReader(kafka="nowhere", topic="t").stop()
