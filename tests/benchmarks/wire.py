"""Load generator and sink in one process, so that start and arrival come from one clock.

Both speak just enough HTTP/1.1 for the other side to be real, and as little as possible: what they cost is taken from the
same cores as what they measure.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SEQ = re.compile(rb"bench-(\d+);")
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Messages:
    """Cuts a stream into (head, body)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[: end + 2])
            found = _LENGTH.search(head)
            stop = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < stop:
                return
            yield head, bytes(self._data[end + 4 : stop])
            del self._data[:stop]


class Sink:
    """Keeps when each sequence number came first, by path, and how often."""

    def __init__(self) -> None:
        self.first: dict[str, dict[int, float]] = defaultdict(dict)
        self.calls = 0
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> Any:
        server = await asyncio.get_running_loop().create_server(
            lambda: _SinkProtocol(self), "127.0.0.1", 0, backlog=1024
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    def note(self, head: bytes, body: bytes) -> None:
        self.calls += 1
        if found := _SEQ.search(body):
            path = head.split(b" ", 2)[1].decode()
            self.first[path].setdefault(int(found[1]), time.perf_counter())

    def unique(self) -> int:
        return sum(map(len, self.first.values()))

    def clear(self) -> None:
        self.first.clear()
        self.calls = 0

    async def has(self, count: int, *, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.unique() < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.unique()} of {count} deliveries arrived within {seconds:.0f} s")
            await asyncio.sleep(0.01)


class _SinkProtocol(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._messages = Messages()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.feed(data):
            self._sink.note(head, body)
            self._transport.write(_OK)


class _Connection(asyncio.Protocol):
    """One request at a time; `status` of the answer."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._messages = Messages()
        self._answer: asyncio.Future[int] | None = None

    def data_received(self, data: bytes) -> None:
        for head, _ in self._messages.feed(data):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))

    async def request(self, data: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer


class Load:
    """Publishes `body(seq)` to one URL. `started` has when each request began, `ended` when it was acknowledged."""

    def __init__(self, url: str, api_key: str, body: Callable[[int], bytes]) -> None:
        self._url = urlsplit(url)
        self._body = body
        self._head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAuthorization: Bearer {api_key}\r\n"
            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self.started: dict[int, float] = {}
        self.ended: dict[int, float] = {}

    async def run(self, count: int, *, connections: int, rate: float | None = None) -> None:
        """As fast as `connections` allow, or at a steady `rate` per second."""
        numbers = iter(range(count))
        begin = time.perf_counter()
        await asyncio.gather(*(self._worker(numbers, begin, rate) for _ in range(connections)))

    async def _worker(self, numbers: Iterator[int], begin: float, rate: float | None) -> None:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(_Connection, self._url.hostname, self._url.port)
        for number in numbers:
            if rate is not None:
                await asyncio.sleep(max(begin + number / rate - time.perf_counter(), 0))
            body = self._body(number)
            self.started[number] = time.perf_counter()
            status = await connection.request(self._head % len(body) + body)
            if status != 202:
                raise RuntimeError(f"the gateway answered {status}")
            self.ended[number] = time.perf_counter()
        transport.close()
