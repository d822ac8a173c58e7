"""Broker, fold, mailbox and parking together, over rows in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from agents import broker as module
from agents.broker import BREATH, Broker
from certes.command import Command, Route, Verdict
from certes.delivery import Outcome
from certes.event import Problem, event_id, load
from certes.fold import Fold
from certes.mailbox import Mailbox
from certes.payloads import Payloads
from certes.records import id_scope, own_headers
from schemas.own import OwnCodec, encode_command, encode_outcomes

KEY = b"k" * 32


@dataclass
class Rec:
    partition: int
    offset: int
    value: bytes
    headers: list = field(default_factory=list)
    key: bytes | None = None
    timestamp: int = 1_000


class Rows(dict):
    def read_row(self, partition, key):
        return self.get((partition, key))

    def put(self, partition, key, value):
        self[partition, key] = value


class Park:
    """Parking, as far as the broker speaks to it."""

    def __init__(self):
        self.seen = []
        self.left = []
        self.parks = set()

    def judge(self, arrival):
        if arrival.given_id in self.parks:
            return Problem("waits for schema 7")
        return Verdict(uri="a.dev/_/1/x", routes=(Route("sub_1", 4), Route("sub_2", 9)))

    def see(self, row):
        self.seen.append((row.id, row.state))

    def forget(self, partition):
        self.left.append(partition)


class Worker:
    """A worker's broker, with a log that is a list per partition. Another one may go on with its rows."""

    def __init__(self, *, rows=None, log=None):
        self.now = 5_000
        self.ends = {}
        self.read = []
        self.events = rows if rows is not None else Rows()
        self.log = log if log is not None else {0: [], 1: []}
        self.mailbox = Mailbox(limit=lambda subscription: 32)
        self.broker = Broker(
            mailbox=self.mailbox,
            payloads=Payloads(reader=self, budget_bytes=1 << 20),
            ends=self.ends.get,
            now_ms=lambda: self.now,
        )
        self.broker.parking = self.parking = Park()
        self.broker.fold = Fold(
            events=self.events,
            backoffs=Rows(),
            judge=self.parking.judge,
            codec=OwnCodec(),
            cluster_key=KEY,
            on_row=self.broker.on_row,
        )

    async def value(self, partition, offset):
        self.read.append(offset)
        return self.log[partition][offset].value

    def append(self, value, headers, partition=0, **kwargs):
        log = self.log[partition]
        log.append(Rec(partition, len(log), value, headers, **kwargs))
        return log[-1]

    def publish(self, given, value=b"{}", partition=0, **kwargs):
        return self.append(value, [("ce_id", given.encode())], partition, **kwargs)

    def outcome(self, given, subscription, state="delivered", partition=0, **kwargs):
        fields = {"epoch": 1, "attempt": 1, "at": 2_000, "duration_ms": 5, **kwargs}
        (value,) = encode_outcomes([Outcome(identifier(given, partition), subscription, state=state, **fields)])
        return self.append(value, own_headers("outcomes", value, cluster_key=KEY), partition)

    def command(self, action, given, partition=0, **kwargs):
        value = encode_command(Command(action, identifier(given, partition), 3_000, **kwargs))
        return self.append(value, own_headers("command", value, cluster_key=KEY), partition)

    async def fold(self, partition=0, *, upto=None):
        """Fold what has not been folded yet, as one chunk."""
        start = self.broker.folded(partition) + 1
        await self.broker.take(partition, self.log[partition][start:upto])

    def due(self, now=10_000):
        found = []
        while (one := self.mailbox.take(now)) is not None:
            found.append((one.event, one.subscription, one.attempt))
        return found

    def row(self, given, partition=0):
        return load(self.events[partition, identifier(given, partition).encode()])


def identifier(given, partition=0):
    return event_id(partition=partition, source=id_scope("kafka", ""), given=given)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.005)


@pytest.fixture
async def worker():
    made = Worker()
    yield made
    for partition in list(made.broker.partitions):
        made.broker.leave(partition)


async def test_what_is_folded_is_due_best_first(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a")
    worker.publish("b")
    worker.ends[0] = 2
    await worker.fold()
    a, b = identifier("a"), identifier("b")
    assert worker.due() == [(a, "sub_2", 0), (b, "sub_2", 0), (a, "sub_1", 0), (b, "sub_1", 0)]


async def test_a_partition_lends_only_once_its_log_is_folded_to_where_it_ended_when_it_came(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a")
    worker.outcome("a", "sub_2")
    worker.publish("later")
    worker.ends[0] = 2
    await worker.fold(upto=1)
    assert worker.due() == []
    worker.ends[0] = 3  # appended after it came: not waited for
    await worker.fold(upto=2)
    assert worker.due() == [(identifier("a"), "sub_1", 0)]


async def test_without_a_known_end_nothing_is_lent_until_it_is_asked_for_again(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a")
    await worker.fold()
    assert worker.due() == []
    worker.ends[0] = 1
    async with asyncio.timeout(1):
        while not worker.due():
            await asyncio.sleep(0.002)


async def test_a_partition_whose_log_stands_still_lends_what_was_left(worker):
    """A worker that starts again on a quiet log: no record ever comes, and its deliveries must go on."""
    worker.ends[0] = 1
    worker.broker.come(0, starts_at=0)
    worker.publish("a")
    await worker.fold()
    after = Worker(rows=worker.events, log=worker.log)
    after.broker.come(0, starts_at=1)
    after.broker.rebuild(list(worker.events.values()))
    assert after.due() == []
    after.ends[0] = 1
    async with asyncio.timeout(1):
        while not (found := after.due()):
            await asyncio.sleep(0.002)
    assert len(found) == 2


async def test_another_worker_goes_on_from_the_rows_with_nothing_twice(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.publish("a")
    worker.publish("b")
    worker.outcome("a", "sub_1")
    worker.outcome("a", "sub_2", "waiting", due=9_000)
    worker.outcome("b", "sub_1", "exhausted", error="no")
    await worker.fold()
    after = Worker(rows=worker.events, log=worker.log)
    after.ends[0] = len(worker.log[0])
    after.broker.come(0, starts_at=1)
    after.broker.rebuild([value for value in worker.events.values() if load(value).state == "delivering"])
    before = dict(worker.events)
    await after.fold()  # again from the first event on: what was committed lies behind
    assert after.events == before
    assert set(after.due(8_999)) == {(identifier("b"), "sub_2", 0)}
    assert after.due(9_000) == [(identifier("a"), "sub_2", 1)]


async def test_outcomes_and_commands_move_what_is_due(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.publish("a")
    await worker.fold()
    assert len(worker.due()) == 2
    for one in [("sub_1", "delivered"), ("sub_2", "exhausted")]:
        worker.outcome("a", *one)
    await worker.fold()
    for subscription in ("sub_1", "sub_2"):
        worker.mailbox.release(
            next(i for i in [slot.item for slot in worker.mailbox._slots.values()] if i.subscription == subscription)
        )
    assert (worker.due(), len(worker.mailbox)) == ([], 0)
    worker.command("retry", "a")
    await worker.fold()
    assert worker.due() == [(identifier("a"), "sub_2", 0)]


async def test_a_cancelled_delivery_is_not_lent(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.publish("a")
    worker.command("cancel", "a", subscription="sub_1")
    await worker.fold()
    assert worker.due() == [(identifier("a"), "sub_2", 0)]


async def test_a_duplicate_is_neither_lent_again_nor_taken_for_the_payload(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.publish("a", b"the first")
    await worker.fold()
    assert len(worker.due()) == 2
    row = worker.row("a")
    assert (await worker.broker.payloads.value(row), worker.read) == (b"the first", [])
    worker.broker.payloads.drop(row)
    worker.publish("a", b"another value")
    await worker.fold()
    assert worker.due() == []
    assert await worker.broker.payloads.value(worker.row("a")) == b"the first"
    assert worker.row("a").duplicates == 1


async def test_payloads_are_forgotten_when_the_event_is_over(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.publish("a")
    await worker.fold()
    await worker.broker.payloads.value(worker.row("a"))
    assert worker.read == []
    worker.outcome("a", "sub_1")
    worker.outcome("a", "sub_2")
    await worker.fold()
    await worker.broker.payloads.value(worker.row("a"))
    assert worker.read == [0]


async def test_parked_events_are_looked_after_and_lent_when_they_are_resumed(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    worker.parking.parks = {"a"}
    worker.publish("a")
    await worker.fold()
    assert worker.parking.seen == [(identifier("a"), "accepted")]
    assert worker.due() == []
    await worker.broker.payloads.value(worker.row("a"))
    assert worker.read == []
    worker.command("resume", "a", verdict=Verdict(routes=(Route("sub_3", 1),)))
    await worker.fold()
    assert worker.parking.seen[-1] == (identifier("a"), "delivering")
    assert worker.due() == [(identifier("a"), "sub_3", 0)]


async def test_a_partition_that_leaves_is_forgotten_and_comes_back_closed(worker):
    for partition in (0, 1):
        worker.broker.come(partition, starts_at=0)
        worker.ends[partition] = 1
        worker.publish("a", partition=partition)
        await worker.fold(partition)
    worker.broker.leave(0)
    assert worker.parking.left == [0]
    assert worker.broker.partitions == {1}
    assert {event for event, _, _ in worker.due()} == {identifier("a", 1)}
    worker.publish("b")
    worker.ends[0] = 2
    worker.broker.come(0, starts_at=1)
    worker.broker.rebuild([value for (partition, _), value in worker.events.items() if partition == 0])
    assert worker.due() == []
    await worker.fold()
    assert len(worker.due()) == 4


async def test_long_chunks_let_others_breathe(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    for number in range(BREATH * 4):
        worker.publish(f"e{number}")
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await worker.fold()
    task.cancel()
    assert turns >= 3


async def test_a_partition_may_leave_while_a_chunk_is_folded(worker):
    worker.broker.come(0, starts_at=0)
    worker.ends[0] = 0
    for number in range(BREATH * 2):
        worker.publish(f"e{number}")
    folding = asyncio.create_task(worker.fold())
    await asyncio.sleep(0)
    worker.broker.leave(0)
    await folding


async def test_waiting_for_an_offset(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a")
    assert not await worker.broker.reached(0, 0, seconds=0.01)
    waiting = asyncio.create_task(worker.broker.reached(0, 0, seconds=1))
    await asyncio.sleep(0)
    await worker.fold()
    assert await waiting
    assert await worker.broker.reached(0, 0, seconds=0.01)
    assert worker.broker.folded(1) == -1


async def test_lag_is_what_the_oldest_record_has_waited(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a", timestamp=4_000)
    worker.publish("b", timestamp=4_500)
    worker.ends[0] = 2
    await worker.fold(upto=1)
    assert worker.broker.behind() == {0: 1}
    assert worker.broker.lag_ms() == 1_000
    await worker.fold()
    assert (worker.broker.behind(), worker.broker.lag_ms()) == ({0: 0}, 0)


async def test_after_a_silence_the_first_record_has_not_waited_all_that_time(worker):
    worker.broker.come(0, starts_at=0)
    worker.publish("a", timestamp=4_000)
    worker.ends[0] = 1
    await worker.fold()
    worker.now += 3_600_000
    worker.ends[0] = 2
    assert worker.broker.lag_ms() < 100
