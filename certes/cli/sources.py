"""`certes sources`: configured senders, such as a third party's webhooks."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from certes.cli import show
from certes.cli.client import Client

PATH = "/api/sources"

app = typer.Typer(no_args_is_help=True, help="Sources: who sends, and how that is verified.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Events are posted to /events/from/NAME.")]


@app.command("list")
def list_sources(*, as_json: show.AsJson = False) -> None:
    """All sources; their secrets are never shown."""
    items = Client.from_environment().items(PATH)
    if as_json:
        show.json({"items": items, "next": None})
        return
    rows = ((one["name"], one["scheme"], one["uri"], one["schemas"], len(one["secrets"])) for one in items)
    show.table(("NAME", "SCHEME", "URI", "SCHEMAS", "SECRETS"), rows)


@app.command()
def add(
    name: Name,
    *,
    scheme: Annotated[str, typer.Option(help="github, hmac, standard (Standard Webhooks) or none.")],
    uri: Annotated[
        str,
        typer.Option(metavar="TEMPLATE", help="E.g. 'community.certes.dev/github/1/{header:x-github-event}'."),
    ],
    secret: Annotated[list[str] | None, typer.Option(help="What the sender signs with; repeatable.")] = None,
    hmac: Annotated[str | None, typer.Option(metavar="JSON", help="The fields of the scheme hmac.")] = None,
    schemas: Annotated[str, typer.Option(help="optional or required.")] = "optional",
    description: Annotated[str, typer.Option()] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of one that has this name.")] = False,
) -> None:
    """Add a source and print where it posts its events to."""
    document = {"scheme": scheme, "uri": uri, "secrets": secret or [], "schemas": schemas, "description": description}
    if hmac is not None:
        document["hmac"] = _object(hmac)
    client = Client.from_environment()
    headers = {} if replace else {"if-none-match": "*"}
    show.unread(client.send("PUT", f"{PATH}/{name}", document, headers=headers))
    typer.echo(f"{client.url}/events/from/{name}")


@app.command()
def remove(name: Name) -> None:
    """Remove a source; what it sends from then on is refused."""
    show.unread(Client.from_environment().send("DELETE", f"{PATH}/{name}"))
    typer.echo(f"{name} is removed")


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--hmac is no JSON: {error}") from error
