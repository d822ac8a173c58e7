"""Apicurio Registry, which speaks Confluent's schema registry API, with its data in an H2 file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from certes.dev import artifacts, probes
from certes.dev.child import ChildSpec, running
from certes.dev.directory import Directory
from certes.dev.ports import HOST, Ports

CONFLUENT_PATH = "/apis/ccompat/v7"


def settings(port: int) -> dict[str, str]:
    """Java system properties. The database is relative to the working directory: a `;` in a path would split the URL."""
    return {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(port),
        # Health and metrics would listen on every address at port 9000.
        "quarkus.management.host": HOST,
        "quarkus.management.port": "0",
        "quarkus.http.access-log.enabled": "false",
        "quarkus.otel.sdk.disabled": "true",
        'quarkus.log.category."io.apicurio".level': "WARN",
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        # No delay: what was answered is written, so a kill takes no schema with it.
        "apicurio.datasource.url": "jdbc:h2:file:./registry;WRITE_DELAY=0",
        "apicurio.datasource.jdbc.initial-size": "2",
        "apicurio.datasource.jdbc.min-size": "2",
        "apicurio.datasource.jdbc.max-size": "10",
        "apicurio.storage.snapshot.location": ".",
        # Confluent's default; Apicurio's own is to allow everything.
        "apicurio.rules.global.compatibility": "BACKWARD",
    }


def spec(home: Path, *, port: int) -> ChildSpec:
    """Downloads the registry if need be: blocks."""
    folder = artifacts.obtain(artifacts.REGISTRY)
    options = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
    defined = (f"-D{name}={value}" for name, value in settings(port).items())

    async def probe() -> str | None:
        return await probes.http(f"{url(port)}/subjects")

    argv = (artifacts.java(), *options, *defined, "-jar", str(folder / "quarkus-run.jar"))
    return ChildSpec(name="registry", argv=argv, probe=probe, cwd=home)


def url(port: int) -> str:
    return f"http://{HOST}:{port}{CONFLUENT_PATH}"


@asynccontextmanager
async def local_registry(directory: Path, *, port: int | None = None) -> AsyncIterator[str]:
    """The registry alone, for tests: yields its URL. The directory is held; nothing is restarted (see Stack)."""
    place = Directory(directory)
    with place.held():
        ports = Ports(place.ports())
        port = ports.choose("registry") if port is None else ports.insist("registry", port)
        place.remember_ports(ports.taken)
        program = await asyncio.to_thread(spec, place.registry, port=port)
        async with running(program, place):
            yield url(port)
