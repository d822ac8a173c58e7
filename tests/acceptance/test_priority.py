"""What is urgent does not wait behind what is not, whatever is queued."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from tests.acceptance.bus import Bus
from tests.acceptance.receiver import Receiver

SIZES = [pytest.param(1_500, 20, id="small"), pytest.param(20_000, 100, id="full", marks=pytest.mark.soak)]


@pytest.mark.parametrize(("queued", "urgent"), SIZES)
async def test_urgent_events_overtake_a_queue(bus: Bus, queued: int, urgent: int) -> None:
    domain = f"backlog-{uuid.uuid4().hex[:8]}.test"
    slow, fast = f"{domain}/_/1/snack", f"{domain}/_/1/payment"
    async with bus.client() as client, Receiver(delay={"slow": 0.25}) as receiver:
        await client.optional_schemas(domain)
        await client.must("PUT", f"/api/priorities/event/{slow}", {"priority": 1})
        await client.must("PUT", f"/api/priorities/event/{fast}", {"priority": 9})
        await client.must("PUT", f"/api/priorities/event/{domain}/_/1/recall", {"priority": 9})
        both = 'event.name in ["snack", "recall"]'
        subscription, _ = await client.subscribe(
            f"{domain}/_/1/*", f"{receiver.url}/slow", filter=both, max_in_flight=1
        )
        await client.subscribe(fast, f"{receiver.url}/fast")
        await client.send_many(slow, queued, prefix=domain)

        sent = {}
        for number in range(urgent):
            at = asyncio.get_running_loop().time()
            identifier = await client.send(fast, {"n": number}, ce_id=f"{domain}-urgent-{number}")
            sent[identifier] = at
            await receiver.has("fast", number + 1, seconds=10)
        waits = sorted(wall(one.at) - sent[one.id] for one in receiver.arrived if one.path == "fast")
        assert waits[int(len(waits) * 0.95) - 1] < 0.150, waits

        before = len([one for one in receiver.arrived if one.path == "slow"])
        recall = await client.send(f"{domain}/_/1/recall", {"all": True}, ce_id=f"{domain}-recall")
        calls = await asyncio.wait_for(next_calls(receiver, before, 3), 20)
        assert recall in calls[:3], "one call was running, the next or the one after is the urgent one"
        await client.must("DELETE", f"/api/subscriptions/{subscription}")
        await client.settled(f"{domain}/_/1/*", seconds=180)


async def next_calls(receiver: Receiver, before: int, count: int) -> list[str]:
    while True:
        calls = [one.id for one in receiver.arrived if one.path == "slow"]
        if len(calls) >= before + count:
            return calls[before:]
        await asyncio.sleep(0.05)


def wall(at: float) -> float:
    """Wall-clock seconds on the event loop's clock."""
    return at - time.time() + asyncio.get_running_loop().time()
