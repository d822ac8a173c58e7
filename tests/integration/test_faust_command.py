"""Both ways to run a worker: `faust -A agents.app worker`, from the repository, and `certes worker`."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
import sysconfig
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
FAUST = Path(sysconfig.get_path("scripts")) / "faust"
COMMANDS = {
    "faust": (sys.executable, str(FAUST), "-A", "agents.app", "worker", "-l", "info", "--without-web"),
    "faust with its web": (sys.executable, str(FAUST), "-A", "agents.app", "worker", "-l", "info"),
    "certes": (sys.executable, "-m", "certes", "worker"),
}
READY_SECONDS = 60
STOP_SECONDS = 40


@dataclass
class Started:
    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def status(self, path: str) -> int | None:
        """None where nobody answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return None

    async def ready(self) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while await self.status("/readyz") != 200:
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.1)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()


@pytest.fixture
async def start(kafka: str, registry_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., Started]]:
    """A function that starts a worker of a command, with topics of its own and what the environment changes."""
    name = f"w{uuid.uuid4().hex[:8]}"
    started: list[Started] = []

    async def begin(command: tuple[str, ...], **changes: str) -> Started:
        port = _free_port()
        env = {
            "CERTES_KAFKA": kafka,
            "CERTES_REGISTRY": registry_url,
            "CERTES_LOG__TOPIC": f"{name}.events",
            "CERTES_LOG__CONFIG_TOPIC": f"{name}.config",
            "CERTES_LOG__APP": name,
            "CERTES_LOG__PARTITIONS": "3",
            "CERTES_CLUSTER__KEY": base64.b64encode(b"k" * 32).decode(),
            "CERTES_WORKER__ID": name,
            "CERTES_WORKER__DATA_DIR": str(tmp_path / "data"),
            "CERTES_WORKER__PORT": str(port),
        }
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env={**os.environ, **env, **changes}, stdout=out, stderr=out
            )
        started.append(Started(process, f"http://127.0.0.1:{port}", log))
        return started[-1]

    yield begin
    for one in started:
        if one.process.returncode is None:
            one.process.kill()
            await one.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_worker_gets_ready_and_ends_well(start: Callable[..., Started], command: str) -> None:
    worker = await start(COMMANDS[command])
    await worker.ready()
    for page in ("/table/", "/table/events/", "/router/", "/router/events/evt_1/", "/stats/"):
        assert await worker.status(page) == 404, f"Faust's own page {page} is open to anybody"
    assert await worker.status("/api/tables/events") == 401
    assert await worker.stop() == 0, worker.log.read_text()[-3000:]
    assert "Traceback" not in worker.log.read_text()


async def test_faust_opens_no_port_of_its_own(start: Callable[..., Started]) -> None:
    port = _free_port()
    worker = await start((*COMMANDS["faust with its web"], "--web-port", str(port)))
    await worker.ready()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert await worker.stop() == 0


async def test_it_waits_for_kafka_and_says_so_once(start: Callable[..., Started]) -> None:
    address = f"127.0.0.1:{_free_port()}"
    worker = await start(COMMANDS["certes"], CERTES_KAFKA=address)
    async with asyncio.timeout(30):
        while "waiting for Kafka" not in worker.log.read_text():
            await asyncio.sleep(0.1)
    await asyncio.sleep(5)
    assert worker.log.read_text().count(address) == 1
    assert worker.process.returncode is None


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"CERTES_CLUSTER__KEY": ""}, 1, "CERTES_CLUSTER__KEY is missing"),
        ({"CERTES_CLUSTER__KEY": "short"}, 2, "CERTES_CLUSTER__KEY: "),
        ({"CERTES_APP": "agents.nowhere:app"}, 2, "agents.nowhere"),
    ],
)
async def test_clean_errors(start: Callable[..., Started], changes: dict[str, str], code: int, words: str) -> None:
    worker = await start(COMMANDS["certes"], **changes)
    async with asyncio.timeout(30):
        assert await worker.process.wait() == code
    said = worker.log.read_text()
    assert words in said
    assert "Traceback" not in said
