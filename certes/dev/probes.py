"""Asks a server whether it is there. A probe answers None when all is well, else the reason as a few words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

Probe = Callable[[], Awaitable[str | None]]

ASK_SECONDS = 3.0


async def kafka(address: str) -> str | None:
    """Whether a Kafka broker at HOST:PORT names its cluster."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return "not of the form HOST:PORT"
    try:
        async with asyncio.timeout(ASK_SECONDS):
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=int(ASK_SECONDS * 1000))
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (OSError, KafkaError, TimeoutError) as error:
        return _reason(error)
    return None if metadata.brokers else "no brokers yet"


async def http(url: str) -> str | None:
    """Whether GET answers 200."""
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return None if response.status == 200 else f"HTTP {response.status}"
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return _reason(error)


async def patiently(probe: Probe, seconds: float) -> str | None:
    """Asks until the answer is good or the time is over; the last reason."""
    reason: str | None = "not asked"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for reason in _answers(probe):
                if reason is None:
                    break
    return reason


async def _answers(probe: Probe) -> AsyncIterator[str | None]:
    while True:
        yield await probe()
        await asyncio.sleep(0.1)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {ASK_SECONDS:g} s"
    return str(error) or type(error).__name__
