"""`certes dev`: the whole bus on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from certes.errors import CertesError, Fatal

if TYPE_CHECKING:
    from certes.dev.directory import Directory
    from certes.dev.plan import Options, Plan

EXAMPLE = """\
gateway    {gateway}   (events in at /events, API at /api, page at /)
workers    {workers}
kafka      {kafka}
registry   {registry}
admin key  {key}

Give an event its schema, subscribe a handler, send one:

  auth='Authorization: Bearer {key}'
  curl -s {gateway}/api/schemas/shop.example/_/1/order -H "$auth" \\
    -d '{{"schema": {{"type": "record", "name": "order", "fields": [{{"name": "number", "type": "int"}}]}}}}'
  curl -s {gateway}/api/subscriptions -H "$auth" \\
    -d '{{"uri": "shop.example/_/1/*", "destination": {{"url": "http://127.0.0.1:8000/hooks"}}}}'
  curl -s {gateway}/events/shop.example/_/1/order -H "$auth" -H 'Content-Type: application/json' -d '{{"number": 1}}'

Ctrl-C stops everything; the data stays in {directory}."""


def dev(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where all state lives.")] = Path(".certes"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 1,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The gateway's port; 0: any free one.  [default: 9600]")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of one of our own.")
    ] = None,
    registry: Annotated[str | None, typer.Option(metavar="URL", help="Use this schema registry instead.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the addresses and the key here as JSON when all answers.")
    ] = None,
) -> None:
    """Start Kafka, a schema registry, the gateway and workers; restart what dies; stop all of it at Ctrl-C."""
    logging.getLogger("certes").addHandler(logging.NullHandler())  # what a person must know is printed
    try:
        from certes.dev.plan import Options
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        _fail(f"the local stack needs the package {missing}: pip install 'certes[dev]'")
    options = Options(directory=directory, workers=workers, port=port, kafka=kafka, registry=registry)
    try:
        _run(options, ready_file)
    except CertesError as error:
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    typer.echo(f"certes dev: {reason}", err=True)
    raise typer.Exit(1)


def _run(options: Options, ready_file: Path | None) -> None:
    from certes.dev import plan
    from certes.dev.directory import Directory

    directory = Directory(options.directory)
    with directory.held():
        _forget(ready_file)
        made = plan.make(options, directory, directory.secrets())
        asyncio.run(_serve(made, directory, ready_file))


async def _serve(plan: Plan, directory: Directory, ready_file: Path | None) -> None:
    from certes.dev.stack import Stack

    async def serve() -> None:
        typer.echo("starting " + ", ".join(spec.name for stage in plan.stages for spec in stage) + " ...", err=True)
        async with Stack(directory, plan.stages, say=lambda text: typer.echo(text, err=True)) as stack:
            _announce(plan, directory, ready_file)
            await stack.run()

    serving = asyncio.create_task(serve())
    stop = _stop_once(serving)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _stop_once(serving: asyncio.Task[None]) -> Callable[[], None]:
    """A second signal must not interrupt the orderly stop that the first one began."""
    asked: list[bool] = []

    def stop() -> None:
        if not asked:
            asked.append(True)
            typer.echo("stopping ...", err=True)
            serving.cancel()

    return stop


def _forget(ready_file: Path | None) -> None:
    """Takes away the file of an earlier run, and notices now rather than later that it cannot be written."""
    if ready_file is None:
        return
    if not ready_file.absolute().parent.is_dir():
        raise Fatal(f"--ready-file {ready_file}: there is no such directory")
    ready_file.unlink(missing_ok=True)


def _announce(plan: Plan, directory: Directory, ready_file: Path | None) -> None:
    from certes.dev.directory import write_whole

    addresses, key = plan.addresses, directory.secrets().admin_key
    if ready_file is not None:
        ready = {
            "gateway": addresses.gateway,
            "api_key": key,
            "kafka": addresses.kafka,
            "registry": addresses.registry,
            "workers": list(addresses.workers),
        }
        write_whole(ready_file, json.dumps(ready), mode=0o600)
    typer.echo(
        EXAMPLE.format(
            gateway=addresses.gateway,
            workers=" ".join(addresses.workers),
            kafka=addresses.kafka,
            registry=addresses.registry,
            key=key,
            directory=directory.path,
        )
    )
