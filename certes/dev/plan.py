"""What `certes dev` runs: the options turned into programs, ports and environments."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certes.dev import kafka, memory, probes, registry
from certes.dev.child import ChildSpec
from certes.dev.directory import Directory, Secrets
from certes.dev.ports import HOST, Ports
from certes.dev.stack import Stage
from certes.errors import Fatal

GATEWAY_PORT = 9600
PROGRAM = (sys.executable, "-m", "certes")  #: begins the command line of a role
LOOPBACK = json.dumps(["127.0.0.0/8", "::1/128"])


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `certes dev`. `port` None: the usual one; 0: any."""

    directory: Path = Path(".certes")
    workers: int = 1
    port: int | None = None
    kafka: str | None = None
    registry: str | None = None

    @property
    def servers(self) -> int:
        """How many Java programs of our own are needed."""
        return (self.kafka is None) + (self.registry is None)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything answers."""

    gateway: str
    kafka: str
    registry: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    addresses: Addresses
    stages: tuple[Stage, ...]


def make(options: Options, directory: Directory, secrets: Secrets) -> Plan:
    """Chooses ports, downloads, prepares Kafka's data; `directory` is held by the caller. Blocks.

    Raises Fatal where that is impossible.
    """
    memory.check(memory.needed(java=options.servers, python=1 + options.workers), has=memory.available())
    asyncio.run(_check_foreign(options))
    ports = _choose_ports(options, directory)
    servers = _servers(options, directory, ports)
    addresses = Addresses(
        gateway=f"http://{HOST}:{ports['gateway']}",
        kafka=options.kafka or f"{HOST}:{ports['kafka']}",
        registry=options.registry or registry.url(ports["registry"]),
        workers=tuple(f"http://{HOST}:{ports[f'worker-{n}']}" for n in range(1, options.workers + 1)),
    )
    env = _shared_env(addresses, secrets)
    gateway = _role("gateway", env | _gateway_env(ports), url=addresses.gateway)
    workers = [
        _role(f"worker-{n}", env | _worker_env(n, ports, directory), url=url)
        for n, url in enumerate(addresses.workers, 1)
    ]
    return Plan(addresses, (servers, (gateway, *workers)))


async def _check_foreign(options: Options) -> None:
    """Servers that the user named are theirs to start: we only look whether they are there."""
    if options.kafka is not None and (reason := await probes.kafka(options.kafka)):
        raise Fatal(
            f"no Kafka at {options.kafka} ({reason}): start it, correct --kafka, or leave --kafka out to have one started"
        )
    if options.registry is not None and (reason := await probes.http(f"{options.registry.rstrip('/')}/subjects")):
        raise Fatal(
            f"no schema registry at {options.registry} ({reason}): start it, correct --registry, "
            "or leave --registry out to have one started"
        )


def _choose_ports(options: Options, directory: Directory) -> dict[str, int]:
    ports = Ports(directory.ports())
    if options.port == 0:
        ports.choose("gateway")
    else:
        ports.insist("gateway", GATEWAY_PORT if options.port is None else options.port)
    own = (["kafka", "controller"] if options.kafka is None else []) + (
        ["registry"] if options.registry is None else []
    )
    for name in (*own, "gateway-admin", *(f"worker-{n}" for n in range(1, options.workers + 1))):
        ports.choose(name)
    directory.remember_ports({**directory.ports(), **ports.taken})
    return ports.taken


def _servers(options: Options, directory: Directory, ports: Mapping[str, int]) -> Stage:
    servers: list[ChildSpec] = []
    if options.kafka is None:
        port = ports["kafka"]
        folder = kafka.prepare(directory.kafka, port=port, controller_port=ports["controller"])
        servers.append(kafka.spec(folder, directory.kafka, port=port))
    if options.registry is None:
        servers.append(registry.spec(directory.registry, port=ports["registry"]))
    return servers


def _role(name: str, env: Mapping[str, str], *, url: str) -> ChildSpec:
    role = name.partition("-")[0]

    async def probe() -> str | None:
        return await probes.http(f"{url}/readyz")

    return ChildSpec(name=name, argv=(*PROGRAM, role), probe=probe, env=env)


def _shared_env(addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    return {
        "CERTES_KAFKA": addresses.kafka,
        "CERTES_REGISTRY": addresses.registry,
        "CERTES_CLUSTER__KEY": secrets.cluster_key,
        "CERTES_ADMIN__KEY": secrets.admin_key,
        "CERTES_DELIVERY__ALLOW_PRIVATE": LOOPBACK,  # the developer's handlers live on this machine
    }


def _gateway_env(ports: Mapping[str, int]) -> dict[str, str]:
    return {"CERTES_GATEWAY__PORT": str(ports["gateway"]), "CERTES_GATEWAY__ADMIN_PORT": str(ports["gateway-admin"])}


def _worker_env(number: int, ports: Mapping[str, int], directory: Directory) -> dict[str, str]:
    return {
        "CERTES_WORKER__ID": f"worker-{number}",
        "CERTES_WORKER__PORT": str(ports[f"worker-{number}"]),
        "CERTES_WORKER__DATA_DIR": str(directory.worker(number)),
    }
