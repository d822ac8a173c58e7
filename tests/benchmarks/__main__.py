"""Runs all measurements against a `certes dev` of its own, prints a table, and with `--json FILE` keeps them.

The event has a registered schema, which is enforced; everything is acknowledged by Kafka. Gateway, worker and Kafka share
the machine's cores with the load generator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich import box
from rich.console import Console
from rich.table import Table

import certes
from tests.acceptance.bus import Bus, Client, Dev
from tests.benchmarks.wire import Load, Sink

URI = "bench.test/_/1/created"
FILLER = "abcdefghij klmnopqrst 0123456789 " * 24
USER = {"type": "record", "name": "user", "fields": [
    {"name": "id", "type": "long"}, {"name": "name", "type": "string"}, {"name": "active", "type": "boolean"}]}  # fmt: skip
SCHEMA = {"type": "record", "name": "created", "fields": [
    {"name": "key", "type": "string"}, {"name": "user", "type": USER},
    {"name": "amount", "type": "double"}, {"name": "note", "type": "string"}]}  # fmt: skip
SIZES = {"full": (20_000, 3_000, 2_000, 20_000), "quick": (3_000, 500, 300, 3_000)}


def body(seq: int) -> bytes:
    """About 1 KB of JSON."""
    document = {
        "key": f"bench-{seq};", "user": {"id": seq, "name": "Ada Lovelace", "active": True}, "amount": 12.5, "note": FILLER,
    }  # fmt: skip
    return json.dumps(document).encode()


@dataclass
class Bench:
    dev: Dev
    bus: Bus
    client: Client
    sink: Sink
    sizes: tuple[int, int, int, int]
    figures: dict[str, float] = field(default_factory=dict)

    async def all(self) -> None:
        await self.client.must("POST", f"/api/schemas/{URI}", {"schema": SCHEMA})
        one = await self.subscribe(1)
        await self.warm_up()
        await self.end_to_end()
        await self.latency()
        await self.worker_alone()
        await self.unsubscribe(one)
        ten = await self.subscribe(10)
        await self.fan_out()
        await self.unsubscribe(ten)
        await self.bare_loop()

    async def subscribe(self, count: int) -> list[str]:
        urls = [f"{self.sink.url}/hook/{number}" for number in range(count)]
        return [(await self.client.subscribe(URI, url, max_in_flight=64))[0] for url in urls]

    async def unsubscribe(self, identifiers: list[str]) -> None:
        for identifier in identifiers:
            await self.client.must("DELETE", f"/api/subscriptions/{identifier}")

    def load(self) -> Load:
        self.sink.clear()
        return Load(f"{self.bus.gateway}/events/{URI}", self.bus.api_key, body)

    async def warm_up(self) -> None:
        await self.load().run(1_000, connections=16)
        await self.sink.has(1_000, seconds=60)

    async def end_to_end(self) -> None:
        count, load = self.sizes[0], self.load()
        with self.usage("end to end", count):
            await load.run(count, connections=32)
            await self.sink.has(count, seconds=300)
        begin = min(load.started.values())
        self.figures["ingest/s"] = count / (max(load.ended.values()) - begin)
        self.figures["end-to-end deliveries/s"] = count / (self.last() - begin)
        self.figures["repeated"] = self.sink.calls - self.sink.unique()

    async def latency(self) -> None:
        count, load = self.sizes[1], self.load()
        await load.run(count, connections=64, rate=100)
        await self.sink.has(count, seconds=60)
        arrived = self.sink.first["/hook/0"]
        waits = sorted((arrived[seq] - load.started[seq]) * 1000 for seq in arrived)
        for percent in (50, 95, 99):
            self.figures[f"p{percent} ms at 100/s"] = waits[min(len(waits) * percent // 100, len(waits) - 1)]

    async def fan_out(self) -> None:
        count, load = self.sizes[2], self.load()
        with self.usage("fan-out 1 to 10", count * 10):
            await load.run(count, connections=32)
            await self.sink.has(count * 10, seconds=300)
        self.figures["fan-out 1 to 10 deliveries/s"] = count * 10 / (self.last() - min(load.started.values()))

    async def worker_alone(self) -> None:
        """The worker is stopped, the topic filled through the gateway, and the worker started again."""
        count, load = self.sizes[3], self.load()
        (worker,) = self.dev.role("worker")
        worker.suspend()
        try:
            await load.run(min(count, 4 * 1000), connections=32)
        finally:
            worker.kill()
        await self.sink.has(min(count, 4 * 1000), seconds=300)
        arrived = sorted(self.sink.first["/hook/0"].values())
        self.figures["worker alone deliveries/s"] = (len(arrived) - 1) / (arrived[-1] - arrived[0])

    async def bare_loop(self) -> None:
        count = self.sizes[3]
        await self.fill("bench.bare", count)
        self.sink.clear()
        command = [sys.executable, "-m", "tests.benchmarks.bare", self.bus.kafka, "bench.bare", f"{self.sink.url}/bare"]
        process = await asyncio.create_subprocess_exec(*command, str(count))
        await self.sink.has(count, seconds=300)
        await process.wait()
        arrived = self.sink.first["/bare"].values()
        self.figures["bare loop deliveries/s"] = count / (max(arrived) - min(arrived))

    async def fill(self, topic: str, count: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bus.kafka)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 12, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=self.bus.kafka, linger_ms=5)
        await producer.start()
        for sent in [await producer.send(topic, body(seq), partition=seq % 12) for seq in range(count)]:
            await sent
        await producer.stop()

    def last(self) -> float:
        return max(at for arrived in self.sink.first.values() for at in arrived.values())

    @contextmanager
    def usage(self, name: str, deliveries: int) -> Iterator[None]:
        """CPU-seconds per 1,000 deliveries and peak memory of all that runs, the load generator left out."""
        family = self.dev.family()
        before = cpu(family)
        yield
        self.figures[f"CPU-s per 1,000, {name}"] = (cpu(family) - before) / deliveries * 1000
        self.figures["memory MB, all processes"] = sum(one.memory_info().rss for one in family) / 1e6
        (worker,) = self.dev.role("worker")
        self.figures["memory MB, worker"] = worker.memory_info().rss / 1e6


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes if one.is_running())


def show(figures: dict[str, float]) -> None:
    bare = figures["bare loop deliveries/s"]
    table = Table(title=f"Certes {certes.__version__} on {os.cpu_count()} cores", box=box.SIMPLE)
    for column in ("", "measured", "of the bare loop"):
        table.add_column(column, justify="right" if column else "left")
    for name, value in figures.items():
        ratio = f"{value / bare:.2f}" if "deliveries/s" in name else ""
        table.add_row(name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}", ratio)
    Console(width=100).print(table)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    options = parser.parse_args()
    sizes = SIZES["quick" if options.quick else "full"]
    with tempfile.TemporaryDirectory(prefix="certes-bench-") as directory:
        dev = Dev(Path(directory) / "dev")
        try:
            bus = await asyncio.to_thread(dev.start, seconds=300)
            async with bus.client() as client, Sink().listening() as sink:
                bench = Bench(dev, bus, client, sink, sizes)
                await bench.all()
        finally:
            dev.stop()
    show(bench.figures)
    if options.json:
        machine: dict[str, Any] = {"cores": os.cpu_count(), "python": platform.python_version(), "at": time.time()}
        options.json.write_text(
            json.dumps({"certes": certes.__version__, "machine": machine, **bench.figures}, indent=1)
        )


if __name__ == "__main__":
    uvloop.run(main())
