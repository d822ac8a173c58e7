"""Workers as processes, and Kafka as the tests see it from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from tests.apps.counting import row

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


class Worker:
    """`tests/apps/counting.py` in a process of its own. `events` is what it said so far."""

    def __init__(
        self, kafka: str, topic: str, data: Path, *, env: dict[str, str] | None = None, **options: Any
    ) -> None:
        flags = [flag for name, value in options.items() for flag in (f"--{name.replace('_', '-')}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "tests/apps/counting.py", "--kafka", kafka, "--topic", topic, "--data", str(data), *flags],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        with self.process.stdout as lines:  # type: ignore[union-attr]
            self.events.extend(json.loads(line) for line in lines if line.startswith("{"))

    def _read_log(self) -> None:
        with self.process.stderr as lines:  # type: ignore[union-attr]
            self.log.extend(lines)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["event"] == name]

    def folded(self) -> dict[int, int]:
        """Per partition the last offset folded."""
        return {event["partition"]: event["last"] for event in self.named("folded")}

    def wait_until(self, true: Callable[[], object], what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{what}: exit code {self.process.poll()}, log:\n{''.join(self.log[-40:])}")
            time.sleep(0.02)

    def wait_recovered(self, times: int = 1, seconds: float = 30) -> dict[str, Any]:
        self.wait_until(lambda: len(self.named("recovered")) >= times, f"recovered {times} times", seconds)
        return self.named("recovered")[times - 1]

    def wait_folded(self, ends: dict[int, int], seconds: float = 30) -> None:
        """Until each partition is folded up to before its end."""

        def done() -> bool:
            last = self.folded()
            return all(last.get(partition, -1) >= end - 1 for partition, end in ends.items())

        self.wait_until(done, f"folded up to {ends}, is {self.folded()}", seconds)

    def exit_code(self, seconds: float = 30) -> int:
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return code

    def said(self, text: str) -> bool:
        return any(text in line for line in self.log)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.exit_code()

    def stop(self) -> None:
        """SIGTERM, and it must end in order."""
        self.send(signal.SIGTERM)
        code = self.exit_code()
        assert code == 0, f"exit code {code}, log:\n{''.join(self.log[-40:])}"


class Kafka:
    """A topic of its own per test; the app, its group and changelog carry its name."""

    def __init__(self, bootstrap: str, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.admin = admin
        self.producer = producer
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.changelog = f"{self.topic}-counts-changelog"
        self.sent = 0

    async def produce(self, count: int, *, partitions: Iterable[int] = range(PARTITIONS), key: str = "k") -> None:
        """Records with keys of their own, one after the other over the partitions."""
        targets = list(partitions)
        for number in range(count):
            await self.producer.send(
                self.topic,
                f"text {self.sent}".encode(),
                key=f"{key}{self.sent}".encode(),
                partition=targets[number % len(targets)],
            )
            self.sent += 1
        await self.producer.flush()

    async def ends(self, topic: str | None = None) -> dict[int, int]:
        async with self.reader() as reader:
            tps = [TopicPartition(topic or self.topic, partition) for partition in range(PARTITIONS)]
            return {tp.partition: end for tp, end in (await reader.end_offsets(tps)).items()}

    async def committed(self) -> dict[int, int]:
        found = await self.admin.list_consumer_group_offsets(self.topic)
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == self.topic}

    async def rows(self, topic: str | None = None) -> dict[tuple[int, bytes], bytes]:
        """A topic as a compacted one reads: the last value of each key."""
        latest: dict[tuple[int, bytes], bytes] = {}
        async for record in self.records(topic or self.changelog):
            if record.value is None:
                latest.pop((record.partition, record.key), None)
            else:
                latest[record.partition, record.key] = record.value
        return latest

    async def records(self, topic: str) -> AsyncIterator[Any]:
        async with self.reader() as reader:
            tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            reader.assign(tps)
            ends = await reader.end_offsets(tps)
            await reader.seek_to_beginning()
            while any([await reader.position(tp) < ends[tp] for tp in tps]):
                for batch in (await reader.getmany(timeout_ms=500)).values():
                    for record in batch:
                        yield record

    async def empty(self, topic: str) -> None:
        """Delete all records, as retention does."""
        ends = await self.ends(topic)
        await self.admin.delete_records(
            {TopicPartition(topic, partition): RecordsToDelete(end) for partition, end in ends.items()}
        )

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest") as reader:
            yield reader

    @asynccontextmanager
    async def transactions(self) -> AsyncIterator[AIOKafkaProducer]:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=uuid.uuid4().hex) as producer:
            yield producer


@asynccontextmanager
async def connected(bootstrap: str) -> AsyncIterator[Kafka]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        bench = Kafka(bootstrap, admin, producer)
        await admin.create_topics([NewTopic(bench.topic, PARTITIONS, 1)])
        yield bench
        await admin.delete_topics([bench.topic, bench.changelog])
    await admin.close()


async def expected(bench: Kafka) -> dict[tuple[int, bytes], bytes]:
    """The rows that the log folds to, made here."""
    return {
        (record.partition, record.key): row(record.offset, record.value.decode())
        async for record in bench.records(bench.topic)
    }


async def folded(worker: Worker, bench: Kafka) -> None:
    """Wait until the worker has folded all of the log; for a worker that began before it was complete."""
    await asyncio.to_thread(worker.wait_folded, await bench.ends())


def stored(data: Path) -> dict[tuple[int, bytes], bytes]:
    """The rows in the files of a worker that has ended."""
    found: dict[tuple[int, bytes], bytes] = {}
    for path in (data / "counts").glob("*.db"):
        db = sqlite3.connect(path)
        rows = db.execute("select key, value from rows").fetchall()
        db.close()
        found |= {(int(path.stem), key): value for key, value in rows}
    return found
