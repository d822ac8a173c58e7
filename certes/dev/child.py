"""One child program of the local stack: its start, whether it answers, its last words, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from certes.dev import leash, probes
from certes.dev.directory import Directory
from certes.errors import Fatal

logger = logging.getLogger(__name__)

KEPT_LOG_BYTES = 5 << 20
LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how to tell that it answers. `env` is added to ours; times in seconds."""

    name: str
    argv: tuple[str, ...]
    probe: probes.Probe
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    start_seconds: float = 120.0  #: how long it may take until it answers
    stop_seconds: float = 15.0  #: how long it may take to end after SIGTERM


class Child:
    """Runs a ChildSpec on a leash (see `certes.dev.leash`)."""

    def __init__(self, spec: ChildSpec, directory: Directory) -> None:
        self.spec = spec
        self.log = directory.logs / f"{spec.name}.log"
        self._pid_file = directory.pids / spec.name
        self._leash: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the program, after whatever of it an earlier run left behind is gone."""
        if not await asyncio.to_thread(leash.reap, self._pid_file):
            raise Fatal(
                f"a {self.spec.name} of an earlier run does not end (process group in {self._pid_file}): kill it"
            )
        rotate(self.log)
        with self.log.open("ab") as output:
            self._leash = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(self._pid_file), *self.spec.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.spec.cwd,
                env={**os.environ, **self.spec.env},
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end the children in order
            )
        logger.info("started %s", self.spec.name, extra={"action": "start"})

    async def ready(self) -> None:
        """Returns when the program answers. Raises Fatal, with its last lines, when it ends or is silent too long."""
        asked = asyncio.ensure_future(probes.patiently(self.spec.probe, self.spec.start_seconds))
        ended = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self._failure(f"ended with code {ended.result()}")
            if reason := asked.result():
                raise self._failure(f"does not answer after {self.spec.start_seconds:g} s ({reason})")
        finally:
            for task in (asked, ended):
                task.cancel()
            await asyncio.gather(asked, ended, return_exceptions=True)

    async def ended(self) -> int:
        """The exit code, once it has ended."""
        assert self._leash is not None
        return await self._leash.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after the time the child has to end."""
        if self._leash is None:
            return
        pipe = self._leash.stdin
        assert pipe is not None
        with contextlib.suppress(TimeoutError, ConnectionError):
            pipe.write(b"T")
            async with asyncio.timeout(self.spec.stop_seconds):
                await self._leash.wait()
        pipe.close()
        await self._leash.wait()
        await asyncio.to_thread(leash.reap, self._pid_file)
        logger.info("stopped %s", self.spec.name, extra={"action": "stop"})

    def _failure(self, what: str) -> Fatal:
        return Fatal(f"{self.spec.name} {what}; its last lines in {self.log}:\n{last_lines(self.log)}")


@asynccontextmanager
async def running(spec: ChildSpec, directory: Directory) -> AsyncIterator[Child]:
    """A child that answers, for as long as the block lasts."""
    child = Child(spec, directory)
    try:
        await child.start()
        await child.ready()
        yield child
    finally:
        await child.stop()


def rotate(log: Path) -> None:
    """Puts a log that has grown large aside, one generation of it."""
    if log.exists() and log.stat().st_size > KEPT_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def last_lines(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
