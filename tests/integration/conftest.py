"""What tests against a real Kafka share: a topic of their own, and workers that never outlive them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.running import Kafka, Worker, connected


@pytest.fixture
async def bench(kafka: str) -> AsyncIterator[Kafka]:
    async with connected(kafka) as made:
        yield made


@pytest.fixture
def start(bench: Kafka) -> Iterator[Any]:
    """`start(data directory, **flags)` runs a counting worker."""
    workers: list[Worker] = []

    def begin(data: Path, **options: Any) -> Worker:
        workers.append(Worker(bench.bootstrap, bench.topic, data, **options))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.kill()
