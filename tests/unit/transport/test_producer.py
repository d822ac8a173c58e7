from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as driver

from agents.transport.lease import Lease
from agents.transport.producer import Buffer, Producer, fence
from certes.clock import FrozenClock
from certes.errors import TooLarge
from tests.apps.ended import Deaths, Ended, end


async def test_the_buffer_flushes_for_as_long_as_a_send_takes() -> None:
    """Faust gives up after 0.1 s without progress and the commit goes on."""
    buffer = Buffer()
    buffer.app = SimpleNamespace(conf=SimpleNamespace(producer_threaded=False))  # type: ignore[assignment]
    sent = []

    async def publish(message: Any, *, wait: bool) -> None:
        await asyncio.sleep(0.15)
        sent.append(message)

    for _ in range(3):
        buffer.put(SimpleNamespace(message=SimpleNamespace(channel=SimpleNamespace(publish_message=publish))))  # type: ignore[arg-type]
    await buffer.start()
    await buffer.flush()
    assert len(sent) == 3
    await buffer.stop()


async def test_a_buffer_that_is_not_running_says_so() -> None:
    buffer = Buffer()
    buffer.app = SimpleNamespace(conf=SimpleNamespace(producer_threaded=False))  # type: ignore[assignment]
    buffer.put(SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="1 messages cannot be flushed"):
        await buffer.flush()


async def test_nothing_goes_to_the_network_without_the_lease() -> None:
    clock, sent = FrozenClock(), []

    async def send(node_id: int, batches: Any) -> None:
        sent.append((node_id, batches))

    producer: Any = SimpleNamespace(_sender=SimpleNamespace(_send_produce_req=send))
    lease = Lease(session_seconds=10, clock=clock, die=end)
    fence(producer, lease)
    lease.grant()
    await producer._sender._send_produce_req(1, "batches")
    clock.move(9)
    with pytest.raises(Ended):
        await producer._sender._send_produce_req(1, "late")
    assert sent == [(1, "batches")]


def producer(deaths: Deaths) -> Any:
    made: Any = Producer.__new__(Producer)
    made.app = SimpleNamespace(die=deaths)
    return made


async def sending(made: Any) -> Any:
    return await made.send("topic", b"k", b"v", 0, None, None)


async def test_an_acknowledgement_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    future = stock_send(monkeypatch)
    waiting = await sending(producer(Deaths()))
    future.set_result("metadata")
    assert await waiting == "metadata"


async def test_a_failed_send_ends_the_worker_though_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust logs it and commits."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    future, deaths = stock_send(monkeypatch), Deaths()
    waiting = await sending(producer(deaths))
    waiting.cancel()
    future.set_exception(KafkaTimeoutError("no leader"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "no leader" in deaths.reasons[0]


async def test_a_send_that_is_not_even_queued_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    stock_send(monkeypatch, KafkaTimeoutError("full"))
    with pytest.raises(Ended, match="full"):
        await sending(producer(Deaths()))


async def test_a_record_that_is_too_large_is_the_callers_business(monkeypatch: pytest.MonkeyPatch) -> None:
    stock_send(monkeypatch, MessageSizeTooLargeError("2 MB"))
    with pytest.raises(TooLarge, match="2 MB"):
        await sending(producer(Deaths()))


def stock_send(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def send(*_args: Any, **_kwargs: Any) -> asyncio.Future[Any]:
        if error:
            raise ProducerSendError("Error while sending") from error
        return future

    monkeypatch.setattr(driver.Producer, "send", send)
    return future
