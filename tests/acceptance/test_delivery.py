"""What a subscriber sees: failures, retries by hand, cancelling, a handler that is gone, patterns and filters."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.acceptance.bus import Bus, Client
from tests.acceptance.receiver import Receiver, official

QUICK = {"strategy": "exponential", "initial_seconds": 0.2, "factor": 2, "max_retries": 2, "jitter": 0}


def domain() -> str:
    return f"d{uuid.uuid4().hex[:8]}.test"


async def event(client: Client, identifier: str, state: str, *, seconds: float = 20) -> dict[str, Any]:
    for _ in range(int(seconds / 0.1)):
        found = await client.must("GET", f"/api/events/{identifier}")
        if found["state"] == state:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{identifier} is {found['state']}, not {state}: {found}")


async def test_an_exhausted_delivery_is_kept_and_can_be_retried(bus: Bus) -> None:
    uri, down = f"{domain()}/_/1/order", True
    async with bus.client() as client, Receiver(answer=lambda _path, _nth: 500 if down else 200) as receiver:
        await client.optional_schemas(uri.split("/", maxsplit=1)[0])
        _, secret = await client.subscribe(uri, f"{receiver.url}/orders", backoff=QUICK)
        identifier = await client.send(uri, {"n": 1})
        failed = await event(client, identifier, "failed")
        (delivery,) = failed["deliveries"]
        assert delivery["state"] == "exhausted"
        assert [(one["number"], one["status"]) for one in delivery["attempts"]] == [(1, 500), (2, 500), (3, 500)]
        down = False
        await client.must("POST", f"/api/events/{identifier}/retry", {})
        delivered = await event(client, identifier, "delivered")
    assert [one.headers["certes-attempt"] for one in receiver.arrived] == ["1", "2", "3", "1"]
    assert len({one.id for one in receiver.arrived}) == 1
    official(secret, receiver.arrived[-1])
    hops = [part.split(".")[0] for part in delivered["trace"]]
    assert hops == ["gw", "eb", "ec", "ec", "ec", "api", "ec"]
    assert [part.split(".")[0] for part in receiver.arrived[-1].headers["certes-trace"].split(",")][-2:] == [
        "api",
        "ec",
    ]


async def test_a_cancelled_delivery_is_not_called_again(bus: Bus) -> None:
    uri = f"{domain()}/_/1/order"
    slow = {"strategy": "linear", "initial_seconds": 1, "jitter": 0}
    async with bus.client() as client, Receiver(answer=lambda _path, _nth: 500) as receiver:
        await client.optional_schemas(uri.split("/", maxsplit=1)[0])
        await client.subscribe(uri, f"{receiver.url}/orders", backoff=slow)
        identifier = await client.send(uri, {"n": 1})
        while not receiver.arrived:
            await asyncio.sleep(0.05)
        await client.must("POST", f"/api/events/{identifier}/cancel", {})
        await event(client, identifier, "cancelled")
        await asyncio.sleep(2.5)
    assert len(receiver.arrived) == 1


async def test_410_disables_the_subscription_and_holds_its_deliveries(bus: Bus) -> None:
    uri, gone = f"{domain()}/_/1/order", True
    async with bus.client() as client, Receiver(answer=lambda _path, _nth: 410 if gone else 200) as receiver:
        await client.optional_schemas(uri.split("/", maxsplit=1)[0])
        subscription, _ = await client.subscribe(uri, f"{receiver.url}/orders", backoff=QUICK)
        first = await client.send(uri, {"n": 1})
        for _ in range(100):
            if not (await client.must("GET", f"/api/subscriptions/{subscription}"))["enabled"]:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("410 did not disable the subscription")
        second = await client.send(uri, {"n": 2})
        await asyncio.sleep(1)
        assert len(receiver.arrived) == 1, "what is disabled is held"
        gone = False
        await client.must("PATCH", f"/api/subscriptions/{subscription}", {"enabled": True})
        for identifier in (first, second):
            await event(client, identifier, "delivered")


async def test_deleting_a_subscription_cancels_its_deliveries(bus: Bus) -> None:
    uri = f"{domain()}/_/1/order"
    async with bus.client() as client, Receiver(answer=lambda _path, _nth: 500) as receiver:
        await client.optional_schemas(uri.split("/", maxsplit=1)[0])
        slow = {"strategy": "linear", "initial_seconds": 1, "jitter": 0}
        subscription, _ = await client.subscribe(uri, f"{receiver.url}/orders", backoff=slow)
        identifier = await client.send(uri, {"n": 1})
        while not receiver.arrived:
            await asyncio.sleep(0.05)
        await client.must("DELETE", f"/api/subscriptions/{subscription}")
        await event(client, identifier, "cancelled")


async def test_patterns_and_filters_choose(bus: Bus) -> None:
    at = domain()
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas(at)
        await client.subscribe(f"{at}/shop/1/*", f"{receiver.url}/all")
        await client.subscribe(f"{at}/shop/1/sold", f"{receiver.url}/big", filter="data.cents > 1000")
        small = await client.send(f"{at}/shop/1/sold", {"cents": 1})
        big = await client.send(f"{at}/shop/1/sold", {"cents": 5000})
        other = await client.send(f"{at}/shop/1/returned", {"cents": 5000})
        await receiver.has("all", 3, seconds=20)
        await receiver.has("big", 1, seconds=20)
        unrouted = await client.send(f"{at}/shop/2/sold", {"cents": 5000})
        await event(client, unrouted, "unrouted")
    assert receiver.unique("all") == {small, big, other}
    assert receiver.unique("big") == {big}


async def test_handlers_on_private_addresses_are_refused(bus: Bus) -> None:
    uri = f"{domain()}/_/1/order"
    async with bus.client() as client:
        await client.optional_schemas(uri.split("/", maxsplit=1)[0])
        await client.subscribe(uri, "http://10.1.2.3/hooks", backoff={**QUICK, "max_retries": 0})
        identifier = await client.send(uri, {"n": 1})
        failed = await event(client, identifier, "failed")
    assert "private" in failed["deliveries"][0]["attempts"][0]["error"]


async def test_a_foreign_trace_goes_on(bus: Bus) -> None:
    uri = f"{domain()}/_/1/order"
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas(uri.partition("/")[0])
        await client.subscribe(uri, f"{receiver.url}/orders")
        await client.send(uri, {"n": 1}, certes_trace="shop.req-1", traceparent=parent)
        await receiver.has("orders", 1, seconds=20)
    (arrived,) = receiver.arrived
    first, *ours = arrived.headers["certes-trace"].split(",")
    assert first == "ext.shop.req-1"
    assert [part.partition(".")[0] for part in ours] == ["gw", "eb", "ec"]
    assert arrived.headers["traceparent"] == parent
