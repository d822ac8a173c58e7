"""`certes keys`: API keys and their roles."""

from __future__ import annotations

from typing import Annotated

import typer

from certes.cli import show
from certes.cli.client import Client

PATH = "/api/keys"

app = typer.Typer(no_args_is_help=True, help="API keys and their roles.")


@app.command("list")
def list_keys(*, as_json: show.AsJson = False) -> None:
    """All keys by id; the keys themselves are not kept."""
    items = Client.from_environment().items(PATH)
    if as_json:
        show.json({"items": items, "next": None})
        return
    rows = ((one["id"], one["name"], one["roles"], one["created_at"], one["expires_at"]) for one in items)
    show.table(("ID", "NAME", "ROLES", "CREATED", "EXPIRES"), rows)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who uses it; events sent with it have it as source.")],
    *,
    role: Annotated[list[str], typer.Option(help="E.g. events:write, subscriptions:read, admin; repeatable.")],
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="E.g. 2027-01-01T00:00:00Z.")] = None,
) -> None:
    """Make a key and print it, this once."""
    document = {"name": name, "roles": role, "expires_at": expires_at}
    answer = Client.from_environment().send("POST", PATH, document)
    show.unread(answer)
    made = answer.json()
    typer.echo(made["key"])
    show.note(f"its id is {made['id']}; the key is not shown again")


@app.command()
def remove(identifier: Annotated[str, typer.Argument(metavar="ID", help="The id, not the key itself.")]) -> None:
    """Revoke a key."""
    show.unread(Client.from_environment().send("DELETE", f"{PATH}/{identifier}"))
    typer.echo(f"{identifier} is revoked")
