"""Each correction of the transport, on a real Kafka. Without it, the test named after it fails."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.transport.end import EXIT_CODE
from tests.apps.counting import row
from tests.apps.running import PARTITIONS, Kafka, Worker, expected, folded, stored

pytestmark = pytest.mark.kafka


async def ends_with(worker: Worker, reason: str, seconds: float = 30) -> None:
    assert await asyncio.to_thread(worker.exit_code, seconds) == EXIT_CODE, "".join(worker.log[-40:])
    assert worker.said(reason), "".join(worker.log[-40:])


async def recovered(worker: Worker, times: int = 1) -> dict[str, Any]:
    return await asyncio.to_thread(worker.wait_recovered, times)


async def stopped(worker: Worker) -> None:
    await asyncio.to_thread(worker.stop)


async def test_only_committed_records_are_read_and_markers_hold_up_nothing(
    bench: Kafka, start: Any, tmp_path: Path
) -> None:
    worker = start(tmp_path / "a")
    await recovered(worker)
    async with bench.transactions() as producer:
        for text in (b"good", b"bad"):
            await producer.begin_transaction()
            for partition in range(PARTITIONS):
                await producer.send(bench.topic, text, key=text, partition=partition)
            await (producer.commit_transaction() if text == b"good" else producer.abort_transaction())
    await bench.produce(40)
    await folded(worker, bench)
    await stopped(worker)
    rows = stored(tmp_path / "a")
    assert {key for _, key in rows if not key.startswith(b"k")} == {b"good"}
    assert len(rows) == 44
    assert await bench.committed() == await bench.ends()


async def test_trailing_markers_are_not_waited_for(bench: Kafka, start: Any, tmp_path: Path) -> None:
    worker = start(tmp_path / "a")
    await recovered(worker)
    async with bench.transactions() as producer, producer.transaction():
        await producer.send(bench.topic, b"good", key=b"good", partition=0)
    await asyncio.to_thread(worker.wait_folded, {0: 1})
    await stopped(worker)
    again = start(tmp_path / "a")
    await recovered(again)
    await bench.produce(1, partitions=[0])
    await asyncio.to_thread(again.wait_folded, {0: 3})
    await stopped(again)
    assert [(event["first"], event["last"]) for event in again.named("folded")] == [(2, 2)]


@pytest.mark.parametrize("env", [{}, {"NO_CYTHON": "1"}], ids=["compiled", "python"])
async def test_an_exception_in_the_body_ends_the_worker_and_skips_nothing(
    bench: Kafka, start: Any, tmp_path: Path, env: dict[str, str]
) -> None:
    await bench.produce(10, partitions=[0])
    worker = start(tmp_path / "a", env=env)
    await asyncio.to_thread(worker.wait_folded, {0: 10})
    await bench.producer.send_and_wait(bench.topic, b"raise", key=b"bad", partition=0)
    await ends_with(worker, "agent counting failed: ValueError('told to')")
    again = start(tmp_path / "a", env=env)
    await ends_with(again, "agent counting failed: ValueError('told to')")
    assert (await bench.committed()).get(0, 0) <= 10


async def test_an_exception_in_a_recovery_callback_ends_the_worker(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await ends_with(start(tmp_path / "a", fail="recovery"), "a callback after recovery failed")


async def test_an_error_of_the_store_ends_the_worker(bench: Kafka, start: Any, tmp_path: Path) -> None:
    worker = start(tmp_path / "a")
    await recovered(worker)
    db = sqlite3.connect(tmp_path / "a" / "counts" / "0.db")
    db.execute("drop table texts")
    db.close()
    await bench.produce(1, partitions=[0])
    await ends_with(worker, "the store of table counts failed: no such table: texts")


async def test_an_error_in_recovery_ends_the_worker(bench: Kafka, start: Any, tmp_path: Path) -> None:
    """Upstream logs a warning per record and waits for ever."""
    await bench.produce(4)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await stopped(first)
    await bench.producer.send_and_wait(bench.changelog, b"garbage", key=b"k0", partition=0)
    await ends_with(start(tmp_path / "b"), "the store of table counts failed")


async def test_a_failed_produce_ends_the_worker_before_the_commit(bench: Kafka, start: Any, tmp_path: Path) -> None:
    worker = start(tmp_path / "a")
    await recovered(worker)
    await bench.produce(40)
    await folded(worker, bench)
    await limit(bench, bench.changelog, 200)
    await bench.producer.send_and_wait(bench.topic, b"x" * 1000, key=b"large", partition=0)
    await ends_with(worker, f"Kafka did not take rows of {bench.changelog}/0")
    assert (await bench.committed()).get(0, 0) <= 10
    await limit(bench, bench.changelog, 1_000_000)
    again = start(tmp_path / "b")
    await asyncio.to_thread(again.wait_folded, {0: 11})
    await stopped(again)
    assert stored(tmp_path / "b") == await expected(bench)


async def limit(bench: Kafka, topic: str, record_bytes: int) -> None:
    await bench.admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(record_bytes)})]
    )
    await asyncio.sleep(0.5)


async def test_a_worker_that_was_given_up_writes_nothing_more(bench: Kafka, start: Any, tmp_path: Path) -> None:
    """SIGSTOP for longer than the session: others own its partitions, and its queue is full."""
    zombie = start(tmp_path / "a", session=3, slow=0.1)
    await recovered(zombie)
    await bench.produce(4000)
    await asyncio.to_thread(zombie.wait_until, lambda: len(zombie.folded()) > 1, "begun")
    zombie.send(signal.SIGSTOP)
    heir = start(tmp_path / "b", session=3)
    await folded(heir, bench)
    await asyncio.sleep(0.5)
    before = await bench.ends(bench.changelog)
    zombie.send(signal.SIGCONT)
    await ends_with(zombie, "Kafka has not heard from this worker for")
    assert await bench.ends(bench.changelog) == before
    await stopped(heir)
    assert stored(tmp_path / "b") == await expected(bench)


async def test_a_stop_in_order_repeats_nothing(bench: Kafka, start: Any, tmp_path: Path) -> None:
    first = start(tmp_path / "a", slow=0.02)
    await recovered(first)
    await bench.produce(8000)
    await asyncio.to_thread(first.wait_until, lambda: len(first.folded()) > 1, "begun")
    await stopped(first)
    assert await bench.committed() == {partition: last + 1 for partition, last in first.folded().items()}
    again = start(tmp_path / "a")
    await folded(again, bench)
    await stopped(again)
    begun = {event["partition"]: event["first"] for event in reversed(again.named("folded"))}
    assert begun == {partition: first.folded().get(partition, -1) + 1 for partition in range(PARTITIONS)}


@pytest.mark.parametrize("env", [{}, {"NO_CYTHON": "1"}], ids=["compiled", "python"])
async def test_rebalances_leave_no_hole(bench: Kafka, start: Any, tmp_path: Path, env: dict[str, str]) -> None:
    """Another worker joins, stops, joins and is killed, while records come in."""
    steady = start(tmp_path / "a", env=env, session=1.5)
    await recovered(steady)
    producing = asyncio.create_task(trickle(bench))
    others = []
    for end in ("stop", "kill", "stop"):
        other = start(tmp_path / "b", env=env, session=1.5)
        others.append(other)
        await recovered(other)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(getattr(other, end))
    producing.cancel()
    await asyncio.wait([producing])
    await bench.produce(PARTITIONS)
    await folded(steady, bench)
    await stopped(steady)
    assert holes([steady, *others], await bench.ends()) == []
    assert stored(tmp_path / "a") == await bench.rows() == await expected(bench)


async def test_a_planned_rebalance_repeats_nothing(bench: Kafka, start: Any, tmp_path: Path) -> None:
    """The last commit is made before the partitions are given up; Faust forgets first what it would commit."""
    steady = start(tmp_path / "a")
    await recovered(steady)
    producing = asyncio.create_task(trickle(bench))
    await asyncio.sleep(0.5)
    other = start(tmp_path / "b")
    await recovered(other)
    await asyncio.sleep(0.5)
    await stopped(other)
    await recovered(steady, 3)
    producing.cancel()
    await asyncio.wait([producing])
    await bench.produce(PARTITIONS)
    await folded(steady, bench)
    await stopped(steady)
    offsets = [place for worker in (steady, other) for place in places(worker)]
    assert len(other.folded()) > 0
    assert len(offsets) == len(set(offsets)) == bench.sent


async def trickle(bench: Kafka) -> None:
    while True:
        await bench.produce(200)
        await asyncio.sleep(0.02)


def holes(workers: list[Worker], ends: dict[int, int]) -> list[tuple[int, int]]:
    """Offsets that no worker has folded."""
    seen = {place for worker in workers for place in places(worker)}
    return [(p, offset) for p, end in ends.items() for offset in range(end) if (p, offset) not in seen]


def places(worker: Worker) -> list[tuple[int, int]]:
    """Partition and offset of all that it folded."""
    return [
        (event["partition"], offset)
        for event in worker.named("folded")
        for offset in range(event["first"], event["last"] + 1)
    ]


async def test_the_web_service_is_there_before_recovery(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(4)
    worker = start(tmp_path / "a")
    await folded(worker, bench)
    assert worker.events[0] == {"event": "web", "recovered": False}
    await stopped(worker)


async def test_own_records_are_acknowledged_with_their_offset(bench: Kafka, start: Any, tmp_path: Path) -> None:
    worker = start(tmp_path / "a")
    await recovered(worker)
    await bench.producer.send_and_wait(bench.topic, b"echo", key=b"k", partition=3)
    await asyncio.to_thread(worker.wait_until, lambda: worker.named("echoed"), "echoed")
    await asyncio.to_thread(worker.wait_folded, {3: 2})
    await stopped(worker)
    assert worker.named("echoed")[0]["offset"] == 1
    assert json.loads(stored(tmp_path / "a")[3, b"echoed"]) == json.loads(row(1, "echoed"))
