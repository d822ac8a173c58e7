"""A running `certes dev` and its API, as a user's program sees them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import psutil


class Dev:
    """`certes dev` as a process of its own, output in a file beside its directory."""

    def __init__(self, directory: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.ready_file = directory.parent / f"{directory.name}.ready.json"
        self.output = directory.parent / f"{directory.name}.out"
        self._command = [sys.executable, "-m", "certes", "dev", "--dir", str(directory), "--port", "0",
                         "--ready-file", str(self.ready_file), *options]  # fmt: skip
        self._env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, seconds: float = 180) -> Bus:
        self.ready_file.unlink(missing_ok=True)
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._env, start_new_session=True
            )
        until = time.monotonic() + seconds
        while not self.ready_file.exists():
            assert self.process.poll() is None, f"certes dev ended: {self.output.read_text()[-2000:]}"
            assert time.monotonic() < until, f"certes dev is not ready: {self.output.read_text()[-2000:]}"
            time.sleep(0.1)
        return Bus(**json.loads(self.ready_file.read_text()))

    def stop(self, *, seconds: float = 60) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def family(self) -> list[psutil.Process]:
        """All processes that it started, itself left out."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def role(self, name: str) -> list[psutil.Process]:
        """The processes that run `certes worker` or `certes gateway`."""
        return [one for one in self.family() if one.is_running() and one.cmdline()[1:] == ["-m", "certes", name]]


@dataclass(frozen=True)
class Bus:
    """What the ready file says."""

    gateway: str
    api_key: str
    kafka: str
    registry: str
    workers: list[str]

    def client(self) -> Client:
        return Client(self)


class Client:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {self.bus.api_key}"},
            connector=aiohttp.TCPConnector(limit=64),
            timeout=aiohttp.ClientTimeout(total=60),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def call(self, method: str, path: str, document: Any = None, **kwargs: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.bus.gateway + path, json=document, **kwargs) as response:
            return response.status, await response.json(content_type=None)

    async def must(self, method: str, path: str, document: Any = None, **kwargs: Any) -> Any:
        status, answer = await self.call(method, path, document, **kwargs)
        assert status < 300, (method, path, status, answer)
        return answer

    async def optional_schemas(self, domain: str) -> None:
        """Let events of a domain pass without a schema."""
        await self.must("PATCH", "/api/config", {"schemas": {"domains": {domain: "optional"}}})

    async def subscribe(self, uri: str, url: str, **fields: Any) -> tuple[str, str]:
        """A subscription's id and its secret."""
        made = await self.must("POST", "/api/subscriptions", {"uri": uri, "destination": {"url": url}, **fields})
        shown = await self.must("GET", f"/api/subscriptions/{made['id']}/secrets")
        return made["id"], shown["secrets"][0]["secret"]

    async def send(self, uri: str, document: Any, **headers: str) -> str:
        """Publish; the id. What is not acknowledged is sent again, with the same id."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        while True:
            try:
                async with self.session.post(
                    f"{self.bus.gateway}/events/{uri}", json=document, headers=headers
                ) as sent:
                    answer = await sent.json(content_type=None)
                    if sent.status == 202:
                        return answer["id"]
                    assert sent.status == 503, (sent.status, answer)
            except aiohttp.ClientConnectionError:
                pass  # the gateway is being restarted
            assert "ce-id" in headers, "without an id a repeat would be another event"
            await asyncio.sleep(0.2)

    async def send_many(self, uri: str, count: int, *, prefix: str, at_once: int = 32, **headers: str) -> list[str]:
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> str:
            async with gate:
                return await self.send(uri, {"number": number}, ce_id=f"{prefix}-{number}", **headers)

        return await asyncio.gather(*map(one, range(count)))

    async def every(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.must("GET", f"{path}{'&' if '?' in path else '?'}limit=1000{cursor}")
            assert not page.get("missing"), page["missing"]
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"

    async def settled(self, uri: str, *, seconds: float) -> list[dict[str, Any]]:
        """All events of a URI, once none is on its way."""
        until = time.monotonic() + seconds
        while True:
            pages = [await self.every(f"/api/events?uri={uri}&state={state}") for state in ("accepted", "delivering")]
            if not any(pages):
                return await self.every(f"/api/events?uri={uri}")
            assert time.monotonic() < until, f"{sum(map(len, pages))} events of {uri} are still on their way"
            await asyncio.sleep(0.5)
