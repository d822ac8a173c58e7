"""A local stack for a demo: `certes dev` in a directory of its own, and a client of its API."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

START_SECONDS = 300.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Where things are, as `certes dev --ready-file` says."""

    gateway: str
    api_key: str
    kafka: str
    registry: str
    workers: list[str]


class StartError(Exception):
    """The stack did not come up."""


@asynccontextmanager
async def local_stack() -> AsyncIterator[Stack]:
    """Start `certes dev` on free ports; stop it, and remove its directory, at the end. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="certes-demo-") as directory:
        ready = Path(directory) / "ready.json"
        command = [sys.executable, "-m", "certes", "dev", "--dir", directory, "--port", "0", "--ready-file", str(ready)]
        # A group of its own: Ctrl-C reaches the demo, and the demo stops the stack. Progress is shown on stderr.
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, start_new_session=True)
        try:
            yield await _ready(process, ready)
        finally:
            await _stop(process)


async def _ready(process: asyncio.subprocess.Process, ready: Path) -> Stack:
    for _ in range(int(START_SECONDS / 0.1)):
        if (found := await asyncio.to_thread(_read, ready)) is not None:
            return Stack(**json.loads(found))
        if process.returncode is not None:
            raise StartError("the local stack did not start; its output above says why")
        await asyncio.sleep(0.1)
    raise StartError(f"the local stack was not ready within {START_SECONDS:.0f} s")


def _read(ready: Path) -> str | None:
    return ready.read_text() if ready.exists() else None


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Client:
    """The gateway's API with the admin key. Answers are (status, document)."""

    def __init__(self, stack: Stack) -> None:
        self._base = stack.gateway
        self._session = aiohttp.ClientSession(headers={"authorization": f"Bearer {stack.api_key}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """One request with a JSON body."""
        async with self._session.request(method, self._base + path, json=document) as response:
            return response.status, await response.json(content_type=None)

    async def must(self, method: str, path: str, document: Any = None) -> Any:
        """The document of a request that has to succeed."""
        status, answer = await self.call(method, path, document)
        if status >= 300:
            raise StartError(f"{method} {path} answered {status}: {answer.get('detail')}")
        return answer

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """One request with a body as it is."""
        async with self._session.post(self._base + path, data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def every(self, path: str) -> list[dict[str, Any]]:
        """All items of a list."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.must("GET", f"{path}{'&' if '?' in path else '?'}limit=1000{cursor}")
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"
