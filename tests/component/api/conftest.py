"""Workers with their Master API, behind whose ports everything is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.apps.master import Bus, MasterWorker


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    yield bus
    for worker in bus.workers:
        await worker.stop()


@pytest.fixture
async def one(bus: Bus) -> MasterWorker:
    """A worker that owns all partitions."""
    worker = MasterWorker(bus, name="w1", partitions=range(4))
    await worker.start()
    return worker


@pytest.fixture
async def two(bus: Bus) -> tuple[MasterWorker, MasterWorker]:
    workers = MasterWorker(bus, name="w1", partitions=(0, 1)), MasterWorker(bus, name="w2", partitions=(2, 3))
    for worker in workers:
        await worker.start()
    return workers
