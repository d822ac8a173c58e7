"""The store under what happens to workers: killed, restarted, moved, emptied. The changelog is the judge."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from tests.apps.counting import row
from tests.apps.running import PARTITIONS, Kafka, Worker, expected, folded, stored

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("env", [{}, {"NO_CYTHON": "1"}], ids=["compiled", "python"])
async def test_killed_again_and_again_it_loses_nothing(
    bench: Kafka, start: Any, tmp_path: Path, env: dict[str, str]
) -> None:
    data, moments = tmp_path / "a", random.Random(7)
    for _ in range(4):
        worker = start(data, env=env, session=1.5)
        await asyncio.to_thread(worker.wait_recovered)
        producing = asyncio.create_task(bench.produce(3000))
        await asyncio.sleep(moments.uniform(0.05, 0.6))
        worker.kill()
        await producing
    worker = start(data, env=env, session=1.5)
    await folded(worker, bench)
    await asyncio.to_thread(worker.stop)
    assert stored(data) == await bench.rows() == await expected(bench)
    assert sum(await committed_or_zero(bench)) == bench.sent


async def committed_or_zero(bench: Kafka) -> list[int]:
    found = await bench.committed()
    return [found.get(partition, 0) for partition in range(PARTITIONS)]


async def test_recovery_from_nothing(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(2000)
    worker = start(tmp_path / "a")
    await folded(worker, bench)
    await asyncio.to_thread(worker.stop)
    again = start(tmp_path / "b")
    await asyncio.to_thread(again.wait_recovered)
    await asyncio.to_thread(again.stop)
    assert again.named("folded") == []
    assert stored(tmp_path / "b") == await expected(bench)


async def test_recovery_reads_only_the_tail(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(400)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    early = await expected(bench)
    db = sqlite3.connect(tmp_path / "a" / "counts" / "0.db")
    db.execute("delete from rows")  # what is not in the tail must stay away
    db.commit()
    db.close()
    await bench.produce(400)
    other = start(tmp_path / "b")
    await folded(other, bench)
    await asyncio.to_thread(other.stop)
    again = start(tmp_path / "a")
    await asyncio.to_thread(again.wait_recovered)
    await asyncio.to_thread(again.stop)
    assert stored(tmp_path / "b") == (everything := await expected(bench))
    assert stored(tmp_path / "a") == {
        place: value for place, value in everything.items() if place[0] != 0 or place not in early
    }


async def test_a_partition_leaves_and_returns(bench: Kafka, start: Any, tmp_path: Path) -> None:
    first = start(tmp_path / "a")
    await asyncio.to_thread(first.wait_recovered)
    await bench.produce(1000)
    await folded(first, bench)
    second = start(tmp_path / "b")
    theirs = (await asyncio.to_thread(second.wait_recovered))["actives"]
    assert 0 < len(theirs) < PARTITIONS
    await bench.produce(1000)
    await asyncio.to_thread(second.wait_folded, {p: end for p, end in (await bench.ends()).items() if p in theirs})
    await asyncio.to_thread(second.stop)
    back = await asyncio.to_thread(first.wait_recovered, 3)
    assert back["actives"] == list(range(PARTITIONS))
    await bench.produce(400)
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    assert stored(tmp_path / "a") == await bench.rows() == await expected(bench)


async def test_a_standby_takes_over(bench: Kafka, start: Any, tmp_path: Path) -> None:
    first, second = start(tmp_path / "a", standbys=1, session=1.5), start(tmp_path / "b", standbys=1, session=1.5)
    await asyncio.to_thread(second.wait_until, lambda: len(shared(first, second)) == PARTITIONS, "shared")
    await bench.produce(2000)
    ends = await bench.ends()
    await asyncio.to_thread(second.wait_until, lambda: behind(tmp_path / "b", ends) == [], "standby rows", 15)
    first.kill()
    seen = len(second.named("recovered"))
    await asyncio.to_thread(second.wait_until, lambda: owns_all(second, seen), "take-over", 20)
    await bench.produce(400)
    await folded(second, bench)
    await asyncio.to_thread(second.stop)
    assert stored(tmp_path / "b") == await bench.rows() == await expected(bench)


def shared(*workers: Worker) -> set[int]:
    """The partitions owned, when each worker has some."""
    owned = [
        set(worker.named("recovered")[-1]["actives"]) if worker.named("recovered") else set() for worker in workers
    ]
    return set().union(*owned) if all(owned) and not set.intersection(*owned) else set()


def owns_all(worker: Worker, seen: int) -> bool:
    return any(event["actives"] == list(range(PARTITIONS)) for event in worker.named("recovered")[seen:])


def behind(data: Path, ends: dict[int, int]) -> list[int]:
    """The partitions whose file does not have all rows yet."""
    have = stored(data)
    return [p for p, end in ends.items() if sum(1 for place in have if place[0] == p) < end]


async def test_recovery_past_an_emptied_changelog(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(400)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    await bench.empty(bench.changelog)
    again = start(tmp_path / "b")
    await asyncio.to_thread(again.wait_recovered, 1, 20)
    await bench.produce(40)
    await folded(again, bench)
    await asyncio.to_thread(again.stop)
    assert len(stored(tmp_path / "b")) == 40


async def test_recovery_past_a_tail_without_records(bench: Kafka, start: Any, tmp_path: Path) -> None:
    """Markers of a transaction are the last thing in the changelog: no record ever has the highest offset."""
    await bench.produce(40)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    async with bench.transactions() as producer, producer.transaction():
        await producer.send(bench.changelog, row(1000, "x"), key=b"extra", partition=2)
    again = start(tmp_path / "b")
    await asyncio.to_thread(again.wait_recovered, 1, 20)
    await asyncio.to_thread(again.stop)
    assert stored(tmp_path / "b") == {**await expected(bench), (2, b"extra"): row(1000, "x")}


async def test_a_file_from_another_changelog_is_rebuilt(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(400)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    await bench.admin.delete_topics([bench.changelog])
    await asyncio.sleep(1)
    await bench.produce(4)
    again = start(tmp_path / "a")
    await folded(again, bench)
    await asyncio.to_thread(again.stop)
    assert len(list((tmp_path / "a" / "counts").glob("*.db.damaged-1"))) == PARTITIONS
    assert len(stored(tmp_path / "a")) == 4


async def test_a_stale_row_of_a_former_owner_does_not_win(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(40)
    first = start(tmp_path / "a")
    await folded(first, bench)
    await asyncio.to_thread(first.stop)
    fold = await expected(bench)
    place, value = max(((p, v) for p, v in fold.items() if p[0] == 1), key=lambda pair: json.loads(pair[1])["applied"])
    await bench.producer.send_and_wait(bench.changelog, row(0, "stale"), key=place[1], partition=1)
    again = start(tmp_path / "b")
    await asyncio.to_thread(again.wait_recovered)
    await asyncio.to_thread(again.stop)
    assert stored(tmp_path / "b")[place] == value


async def test_a_lost_directory_is_one_more_recovery(bench: Kafka, start: Any, tmp_path: Path) -> None:
    await bench.produce(1000)
    first = start(tmp_path / "a", session=1.5)
    await asyncio.to_thread(first.wait_until, first.folded, "begun")
    first.send(signal.SIGKILL)
    first.exit_code()
    shutil.rmtree(tmp_path / "a")
    again = start(tmp_path / "a", session=1.5)
    await folded(again, bench)
    await asyncio.to_thread(again.stop)
    assert stored(tmp_path / "a") == await bench.rows() == await expected(bench)
    assert TopicPartition(bench.topic, 0).partition in (await bench.committed())
