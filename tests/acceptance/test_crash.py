"""kill -9 in the middle of deliveries: nothing that was acknowledged is lost, and little is repeated."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from tests.acceptance.bus import Bus, Dev
from tests.acceptance.receiver import Receiver

SIZES = [pytest.param(1_500, 2, id="small"), pytest.param(10_000, 3, id="full", marks=pytest.mark.soak)]
#: Two commit intervals, by default half a second each.
REPEATED_SECONDS = 1.0
IN_FLIGHT = 32


@pytest.mark.parametrize(("count", "kills"), SIZES)
async def test_nothing_is_lost_when_the_worker_is_killed(own_dev: tuple[Dev, Bus], count: int, kills: int) -> None:
    dev, bus = own_dev
    uri = "crash.test/_/1/event"

    def sometimes_fails(_path: str, nth: int) -> int:
        return 503 if nth % 20 == 0 else 200

    async with bus.client() as client, Receiver(answer=sometimes_fails) as receiver:
        await client.optional_schemas("crash.test")
        backoff = {"strategy": "linear", "initial_seconds": 0.2, "max_delay_seconds": 1}
        await client.subscribe(uri, f"{receiver.url}/hooks", backoff=backoff)
        sending = asyncio.ensure_future(client.send_many(uri, count, prefix="crash"))
        may_repeat = 0
        for kill in range(kills):
            await receiver.has("hooks", (kill + 1) * count // (kills + 2), seconds=120)
            await kill_worker(dev, wipe=kill == 1)
            may_repeat += recent(receiver) + IN_FLIGHT
        ids = await sending
        await receiver.has("hooks", count, seconds=180)
        events = await client.settled(uri, seconds=120)
    assert len(set(ids)) == count
    assert receiver.unique("hooks") == set(ids)
    assert receiver.repeats("hooks") <= may_repeat
    assert {one["id"] for one in events} == set(ids)
    assert {one["state"] for one in events} == {"delivered"}


def recent(receiver: Receiver) -> int:
    """How many deliveries came in the last two commit intervals."""
    return sum(one.at > time.time() - REPEATED_SECONDS for one in receiver.arrived)


async def kill_worker(dev: Dev, *, wipe: bool) -> None:
    """Kill -9, once with all that it kept on disk."""
    (worker,) = dev.role("worker")
    worker.kill()
    if wipe:
        await asyncio.to_thread(shutil.rmtree, Path(dev.directory) / "workers" / "1", ignore_errors=True)
