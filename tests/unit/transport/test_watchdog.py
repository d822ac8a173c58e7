from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents.transport.watchdog import Standstill, Watchdog
from certes.clock import FrozenClock
from tests.apps.ended import Ended, end

LOG = TP("log", 3)


def test_what_moves_is_not_still() -> None:
    still = Standstill()
    assert still.observe({"a": 1}, 0) == ("a", 0)
    assert still.observe({"a": 1}, 30) == ("a", 30)
    assert still.observe({"a": 2}, 40) == ("a", 0)
    assert still.observe({"a": 2, "b": 1}, 50) == ("a", 10)
    assert still.observe({"b": 1}, 55) == ("b", 5)
    assert still.observe({}, 60) is None
    assert still.observe({"b": 1}, 70) == ("b", 0)


class Bench:
    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.answers = True
        self.work: dict[TP, int] = {}
        self.recovery = SimpleNamespace(active_offsets={}, in_callbacks=False)
        self.app: Any = SimpleNamespace(
            rebalancing=False,
            in_recovery=False,
            consumer_generation_id=1,
            consumer=SimpleNamespace(in_work=lambda: self.work),
            tables=SimpleNamespace(recovery=self.recovery),
            producer=SimpleNamespace(_ensure_producer=lambda: SimpleNamespace(client=self)),
        )
        self.dog = Watchdog(self.app, clock=self.clock, die=end, limit_seconds=60)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(self.answers)
        return future

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            await self.dog.look()
            self.clock.move(5)
        await self.dog.look()


async def test_a_commit_that_stands_still_ends_the_worker() -> None:
    bench = Bench()
    bench.work = {LOG: 7}
    with pytest.raises(Ended, match="the commit of log/3 has stood still for 65 s"):
        await bench.pass_time(70)


async def test_a_commit_that_moves_does_not() -> None:
    bench = Bench()
    for offset in range(5):
        bench.work = {LOG: offset}
        await bench.pass_time(55)


async def test_an_idle_worker_is_not_still() -> None:
    await Bench().pass_time(600)


async def test_recovery_that_stands_still_ends_the_worker() -> None:
    bench = Bench()
    bench.app.in_recovery = True
    with pytest.raises(Ended, match="recovery"):
        await bench.pass_time(70)


async def test_recovery_that_moves_or_rebuilds_does_not() -> None:
    bench = Bench()
    bench.app.rebalancing = True
    for offset in range(3):
        bench.recovery.active_offsets = {TP("changelog", 1): offset}
        await bench.pass_time(55)
    bench.recovery.in_callbacks = True
    await bench.pass_time(600)


async def test_nothing_moves_while_kafka_does_not_answer() -> None:
    bench = Bench()
    bench.work = {LOG: 7}
    bench.answers = False
    await bench.pass_time(600)
    bench.answers = True
    with pytest.raises(Ended):
        await bench.pass_time(70)
