"""Create a subscription, publish, it arrives: never lost, though readers of the configuration stop now and then."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.acceptance.bus import Bus, Client, Dev
from tests.acceptance.receiver import Receiver

SIZES = [pytest.param(40, id="small"), pytest.param(1000, id="full", marks=pytest.mark.soak)]


@pytest.mark.parametrize("rounds", SIZES)
async def test_a_subscription_counts_from_its_answer_on(make_dev: Callable[..., tuple[Dev, Bus]], rounds: int) -> None:
    dev, bus = make_dev("--workers", "2")
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas("config.test")
        stopping = asyncio.ensure_future(stop_now_and_then(dev))
        try:
            for number in range(rounds):
                await one_round(client, receiver, number)
        finally:
            stopping.cancel()
            resume(dev)


async def one_round(client: Client, receiver: Receiver, number: int) -> None:
    uri = f"config.test/_/1/event-{number}"
    made = await client.must(
        "POST", "/api/subscriptions", {"uri": uri, "destination": {"url": f"{receiver.url}/{number}"}}
    )
    identifier = await client.send(uri, {"number": number}, ce_id=f"round-{number}")
    await receiver.has(str(number), 1, seconds=30)
    assert receiver.unique(str(number)) == {identifier}
    await client.must("DELETE", f"/api/subscriptions/{made['id']}")


async def stop_now_and_then(dev: Dev) -> None:
    """The gateway, then a worker, then the other, each for a second: less than Kafka takes them for dead."""
    while True:
        for process in (*dev.role("gateway"), *dev.role("worker")):
            await asyncio.sleep(2)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1)
            process.send_signal(signal.SIGCONT)


def resume(dev: Dev) -> None:
    for process in (*dev.role("gateway"), *dev.role("worker")):
        process.send_signal(signal.SIGCONT)
