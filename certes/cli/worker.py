"""`certes worker`: one worker process, for production."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certes.cli.configuration import load

if TYPE_CHECKING:
    from certes.settings import Settings

DEFAULT_APP = "agents.app:app"
PAUSE_SECONDS = 2.0

logger = logging.getLogger(__name__)


def worker(
    *, app: Annotated[str, typer.Option(envvar="CERTES_APP", metavar="MODULE:NAME", help="Faust app.")] = DEFAULT_APP
) -> None:
    """Run a worker: folds the log, delivers, serves the Master API. Settings come from CERTES_*."""
    import asyncio

    settings = load("worker")
    if app == DEFAULT_APP:
        sys.path.insert(0, str(home()))
    else:
        sys.path.insert(0, "")
    found = find(app)
    asyncio.run(wait_for_kafka(settings))
    run(found)


def home() -> Path:
    """The folder that holds `agents`, `tables` and `schemas`: of the installed wheel, else of the repository.

    Only a worker has it on its path: those names belong to other distributions, too.
    """
    package = Path(__file__).parents[1]
    installed = package / "_worker"
    return installed if installed.is_dir() else package.parent


def find(path: str) -> Any:
    """The Faust app of a dotted path `module:name`. A part of it that is missing is wrong usage."""
    module, colon, name = path.partition(":")
    if not colon or not name:
        raise typer.BadParameter(f"{path!r} is no MODULE:NAME, e.g. {DEFAULT_APP}")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise typer.BadParameter(f"there is no module {error.name} ({path})") from error
    except AttributeError as error:
        raise typer.BadParameter(f"module {module} has no {name}") from error


async def wait_for_kafka(settings: Settings) -> None:
    """Return when Kafka answers and its topics are as they must be. Raises Fatal for a topic that cannot be used."""
    import asyncio

    told = None
    while (reason := await _kafka_lacks(settings)) is not None:
        if reason != told:
            logger.warning("waiting for Kafka: %s", reason, extra={"action": "start"})
        told = reason
        await asyncio.sleep(PAUSE_SECONDS)


async def _kafka_lacks(settings: Settings) -> str | None:
    from certes.errors import Unavailable
    from certes.topics import ensure_topics

    client = logging.getLogger("aiokafka")
    level = client.level
    client.setLevel(logging.CRITICAL)  # it tells every attempt to connect, twice
    try:
        await ensure_topics(settings.kafka, settings.log)
    except Unavailable as error:
        return str(error)
    finally:
        client.setLevel(level)
    return None


def run(app: Any) -> None:
    """Run it on uvloop until a signal ends the process."""
    import asyncio

    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    # By the app, as `faust worker` does: certes knows no Faust. Our logging stays, and nothing else is written.
    one = app.conf.Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
    one.spinner = None
    one.execute_from_commandline()
