"""Apache Kafka as one KRaft node, broker and controller in one process, small and quick to start."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from certes.dev import artifacts, probes
from certes.dev.child import ChildSpec, running
from certes.dev.directory import Directory, write_whole
from certes.dev.ports import HOST, Ports
from certes.errors import Fatal

PROPERTIES = "server.properties"
LOGGING = "log4j2.yaml"
DATA = "data"
MESSAGE_BYTES = 2 << 20

# Kafka's own logger setup: warnings and worse to standard output, which is the child's log file.
LOGGING_TEXT = """\
Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "%d{ISO8601} %p %m (%c)%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: STDOUT
"""


def properties(*, port: int, controller_port: int, data: str = DATA) -> str:
    """The text of server.properties. `data` is relative to Kafka's working directory: a comma in a path would split it."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "message.max.bytes": MESSAGE_BYTES,
        "replica.fetch.max.bytes": MESSAGE_BYTES,
        # A group of one worker need not wait for others, and a dead worker shall be noticed in a second in tests.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 << 20,  # the default of 128 MiB is a third of our heap
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def command(folder: Path, *arguments: str) -> tuple[str, ...]:
    """Kafka's Java command line without its shell scripts; `arguments` begin with the main class."""
    options = ("-Xms128m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
    logging = f"-Dlog4j2.configurationFile={LOGGING}"
    return (artifacts.java(), *options, logging, "-cp", artifacts.classpath(folder), *arguments)


def prepare(home: Path, *, port: int, controller_port: int) -> Path:
    """Writes the configuration and, the first time, formats the data folder. Returns the program's folder. Blocks."""
    folder = artifacts.obtain(artifacts.KAFKA)
    write_whole(home / LOGGING, LOGGING_TEXT)
    if not (home / DATA).exists():
        _format(folder, home, properties(port=port, controller_port=controller_port, data=f"{DATA}.new"))
    write_whole(home / PROPERTIES, properties(port=port, controller_port=controller_port))
    return folder


def _format(folder: Path, home: Path, text: str) -> None:
    """Formats beside and renames: Kafka refuses to start on a folder that is half formatted."""
    draft = home / f"{DATA}.new"
    shutil.rmtree(draft, ignore_errors=True)
    write_whole(home / PROPERTIES, text)
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # One word with its value: a random id may begin with a dash.
    arguments = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", PROPERTIES)
    argv = command(folder, *arguments)
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        reason = "\n".join((done.stderr or done.stdout).splitlines()[:3])
        raise Fatal(f"Kafka cannot format {home}:\n{reason}")
    draft.rename(home / DATA)


def spec(folder: Path, home: Path, *, port: int) -> ChildSpec:
    async def probe() -> str | None:
        return await probes.kafka(f"{HOST}:{port}")

    return ChildSpec(name="kafka", argv=command(folder, "kafka.Kafka", PROPERTIES), probe=probe, cwd=home)


@asynccontextmanager
async def local_kafka(directory: Path, *, port: int | None = None) -> AsyncIterator[str]:
    """Kafka alone, for tests: yields its address. The directory is held; nothing is restarted (see Stack)."""
    place = Directory(directory)
    with place.held():
        ports = Ports(place.ports())
        port = ports.choose("kafka") if port is None else ports.insist("kafka", port)
        controller = ports.choose("controller")
        place.remember_ports(ports.taken)
        folder = await asyncio.to_thread(prepare, place.kafka, port=port, controller_port=controller)
        async with running(spec(folder, place.kafka, port=port), place):
            yield f"{HOST}:{port}"
