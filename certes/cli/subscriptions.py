"""`certes subscriptions`: who wants which events, and where they go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from certes.cli import show
from certes.cli.client import Client
from certes.uri import UriPattern

PATH = "/api/subscriptions"

app = typer.Typer(no_args_is_help=True, help="Subscriptions: which events, and where they go.")

Id = Annotated[str, typer.Argument(metavar="ID", help="sub_...")]


@app.command("list")
def list_subscriptions(*, as_json: show.AsJson = False) -> None:
    """All subscriptions, oldest first."""
    items = Client.from_environment().items(PATH)
    if as_json:
        show.json({"items": items, "next": None})
    else:
        show.table(("ID", "URI", "TO", "FILTER", "PRIORITY", "STATE"), map(_row, items))


@app.command()
def add(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Event URI, may end in /*.")],
    *,
    to: Annotated[str, typer.Option(metavar="URL", help="Where deliveries are posted.")],
    expression: Annotated[
        str | None, typer.Option("--filter", metavar="CEL", help="E.g. 'data.ref == \"refs/heads/main\"'.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 first; without: the rules decide.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME:VALUE", help="Sent along; repeatable.")] = None,
    ordered: Annotated[bool, typer.Option("--ordered", help="One at a time for each key, in order.")] = False,
    max_in_flight: Annotated[int | None, typer.Option(min=1, help="Calls at the same time.  [default: 32]")] = None,
    rate: Annotated[float | None, typer.Option(help="At most so many calls a second.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for an answer.  [default: 15]")] = None,
    description: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Subscribe a handler and print the subscription's id."""
    destination = {"type": "http", "url": to, "headers": dict(map(_header, header or ()))}
    options = {
        "uri": str(UriPattern.parse(uri)),
        "destination": destination,
        "filter": expression,
        "priority": priority,
        "ordered": ordered,
        "max_in_flight": max_in_flight,
        "rate_per_second": rate,
        "timeout_seconds": timeout,
        "description": description,
    }
    document = {name: value for name, value in options.items() if value is not None}
    answer = Client.from_environment().send("POST", PATH, document)
    show.unread(answer)
    typer.echo(answer.json()["id"])


@app.command("show")
def show_subscription(
    identifier: Id,
    *,
    secrets: Annotated[bool, typer.Option("--secrets", help="Print the signing secrets, newest first.")] = False,
    as_json: show.AsJson = False,
) -> None:
    """One subscription with all it says."""
    client = Client.from_environment()
    if secrets:
        _show_secrets(client.get(f"{PATH}/{identifier}/secrets").json(), as_json=as_json)
        return
    subscription = client.get(f"{PATH}/{identifier}").json()
    if as_json:
        show.json(subscription)
    else:
        destination = {
            "to": subscription["destination"]["url"],
            "headers": list(subscription["destination"]["headers"]),
        }
        show.fields((name, value) for name, value in (subscription | destination).items() if name != "destination")


@app.command()
def remove(identifier: Id) -> None:
    """Remove a subscription; its open deliveries are cancelled."""
    show.unread(Client.from_environment().send("DELETE", f"{PATH}/{identifier}"))
    typer.echo(f"{identifier} is removed")


def _row(one: Any) -> tuple[Any, ...]:
    held = f"paused until {one['paused_until']}" if one["paused_until"] else "enabled"
    state = held if one["enabled"] else "disabled"
    return (one["id"], one["uri"], one["destination"]["url"], one["filter"], one["priority"], state)


def _show_secrets(document: Any, *, as_json: bool) -> None:
    if as_json:
        show.json(document)
        return
    for one in document["secrets"]:
        typer.echo(one["secret"])


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is no NAME:VALUE")
    return name.strip(), value.strip()
