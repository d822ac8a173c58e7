"""`certes schemas`: the structure of events, by event URI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from certes.cli import show
from certes.cli.client import Answer, Client
from certes.uri import EventUri

PATH = "/api/schemas"

app = typer.Typer(no_args_is_help=True, help="Schemas: the structure of events.")

Uri = Annotated[str, typer.Argument(metavar="URI", help="domain/namespace/version/event")]
File = Annotated[Path, typer.Argument(metavar="FILE.avsc", exists=True, dir_okay=False, help="Avro schema as JSON.")]


@app.command("list")
def list_schemas(*, as_json: show.AsJson = False) -> None:
    """The newest version of each event's schema."""
    items = Client.from_environment().items(PATH)
    if as_json:
        show.json({"items": items, "next": None})
    else:
        _table(items)


@app.command("show")
def show_schema(
    uri: Uri,
    *,
    version: Annotated[str | None, typer.Option(help="E.g. 1.0; without: the newest.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="List all versions instead.")] = False,
    as_json: show.AsJson = False,
) -> None:
    """Print a schema, ready for a file; with --json its version and id too."""
    query = {"version": version, "versions": "all" if versions else None}
    document = Client.from_environment().get(f"{PATH}/{EventUri.parse(uri)}", query).json()
    if as_json:
        show.json(document)
    elif versions:
        _table(document["items"])
    else:
        show.json(document["schema"])


@app.command()
def push(uri: Uri, file: File) -> None:
    """Register a schema as the next version, or be told why it is not compatible."""
    pushed = _post(uri, file).json()
    what = "version" if pushed["created"] else "is already version"
    typer.echo(f"{pushed['uri']} {what} {pushed['version']} (id {pushed['id']})")


@app.command()
def check(uri: Uri, file: File) -> None:
    """Say what a push would do, and do nothing."""
    found = _post(uri, file, dry_run="true").json()
    what = "would become version" if found["created"] else "is already version"
    typer.echo(f"{found['uri']} {what} {found['version']}")


def _post(uri: str, file: Path, *, dry_run: str | None = None) -> Answer:
    schema = file.read_text(encoding="utf-8")
    path = f"{PATH}/{EventUri.parse(uri)}"
    return Client.from_environment().send("POST", path, {"schema": schema}, query={"dry_run": dry_run})


def _table(items: list[Any]) -> None:
    rows = ((one["uri"], one["version"], one["id"], one["subject"]) for one in items)
    show.table(("URI", "VERSION", "ID", "SUBJECT"), rows)
