"""A real HTTP receiver that keeps what arrives, as a subscriber's handler would see it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web
from standardwebhooks import Webhook


@dataclass
class Arrived:
    id: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Receiver:
    """`answer(path, nth call)` chooses the status; `delay` seconds pass before it, by path."""

    answer: Callable[[str, int], int] = lambda _path, _nth: 200
    delay: dict[str, float] = field(default_factory=dict)
    arrived: list[Arrived] = field(default_factory=list)
    accepted: dict[str, Counter[str]] = field(default_factory=dict)
    url: str = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_post("/{path}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._calls: Counter[str] = Counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        at = time.time()
        path, body = request.match_info["path"], await request.read()
        self._calls[path] += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = self.answer(path, self._calls[path])
        if wait := self.delay.get(path):
            await asyncio.sleep(wait)
        self.arrived.append(Arrived(headers["webhook-id"], path, headers, body, at))
        if status < 300:
            self.accepted.setdefault(path, Counter())[headers["webhook-id"]] += 1
        return web.Response(status=status)

    def unique(self, path: str) -> set[str]:
        """The ids accepted, repeats dropped."""
        return set(self.accepted.get(path, ()))

    def repeats(self, path: str) -> int:
        counts = self.accepted.get(path, Counter())
        return counts.total() - len(counts)

    async def has(self, path: str, count: int, *, seconds: float) -> None:
        """Wait until so many different ids have been accepted; fails when they do not come."""
        until = time.monotonic() + seconds
        while len(self.unique(path)) < count:
            assert time.monotonic() < until, f"{len(self.unique(path))} of {count} arrived at {path} in {seconds} s"
            await asyncio.sleep(0.05)


def official(secret: str, arrived: Arrived) -> None:
    """Let the official library of Standard Webhooks judge a delivery; raises when it refuses it."""
    Webhook(secret).verify(arrived.body, arrived.headers)
