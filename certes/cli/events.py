"""`certes events`: what came in, what became of it, and asking for a retry or for its end."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated, Any

import typer

from certes.cli import show
from certes.cli.client import Client

app = typer.Typer(no_args_is_help=True, help="Events, their trace and their deliveries.")

Id = Annotated[str, typer.Argument(metavar="ID", help="evt_...")]
OfSubscription = Annotated[str | None, typer.Option("--subscription", help="Only the delivery for this one.")]


@app.command("list")
def list_events(
    *,
    uri: Annotated[str | None, typer.Option(help="Event URI, may end in /*.")] = None,
    state: Annotated[str | None, typer.Option(help="accepted, rejected, unrouted, delivering, ...")] = None,
    source: Annotated[str | None, typer.Option()] = None,
    subscription: Annotated[str | None, typer.Option(help="With a delivery for this subscription.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on, e.g. 2026-11-24T16:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    text: Annotated[str | None, typer.Option("--q", help="In ids, URIs, sources or errors.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the last page said to go on.")] = None,
    as_json: show.AsJson = False,
) -> None:
    """Events, newest first."""
    query: dict[str, str | int | None] = {"uri": uri, "state": state, "source": source, "subscription": subscription}
    query |= {"since": since, "until": until, "q": text, "limit": limit, "cursor": cursor}
    page = Client.from_environment().get("/api/events", query).json()
    if as_json:
        show.json(page)
        return
    show.table(("ID", "RECEIVED", "STATE", "URI", "SOURCE", "DELIVERIES"), map(_row, page["items"]))
    if page["next"]:
        show.note(f"there are more: --cursor {page['next']}")
    for one in page.get("missing", ()):
        show.note(f"without partitions {one['partitions']}: worker {one['worker']} does not answer")


@app.command("show")
def show_event(
    identifier: Id,
    *,
    payload: Annotated[bool, typer.Option("--payload", help="Print the payload as received, nothing else.")] = False,
    as_json: show.AsJson = False,
) -> None:
    """One event: its trace, its deliveries and their attempts."""
    client = Client.from_environment()
    if payload:
        sys.stdout.buffer.write(client.get(f"/api/events/{identifier}/payload").body)
        return
    event = client.get(f"/api/events/{identifier}").json()
    if as_json:
        show.json(event)
    else:
        _show(event)


@app.command()
def retry(identifier: Id, *, subscription: OfSubscription = None) -> None:
    """Try failed and waiting deliveries again, from the beginning; a delivered one only when it is named."""
    _command(identifier, "retry", subscription)
    typer.echo(f"{identifier} is tried again")


@app.command()
def cancel(identifier: Id, *, subscription: OfSubscription = None) -> None:
    """End open deliveries without another try."""
    running = _command(identifier, "cancel", subscription)["in_flight"]
    typer.echo(f"{identifier} is cancelled")
    if running:
        show.note(f"a call that is going on cannot be stopped: {show.plain(running)}")


def _command(identifier: str, action: str, subscription: str | None) -> Any:
    document = {} if subscription is None else {"subscription": subscription}
    return Client.from_environment().send("POST", f"/api/events/{identifier}/{action}", document).json()


def _row(event: Any) -> tuple[Any, ...]:
    deliveries = show.counts(Counter(one["state"] for one in event["deliveries"]))
    return (event["id"], event["received_at"], event["state"], event["uri"], event["source"], deliveries)


def _show(event: Any) -> None:
    schema = event["schema"]
    show.fields(
        [
            ("id", event["id"]),
            ("uri", event["uri"]),
            ("state", event["state"]),
            ("source", event["source"]),
            ("schema", schema and f"version {schema['version'] or '?'} (id {schema['id']})"),
            ("received", event["received_at"]),
            ("payload", f"{event['size']} bytes of {event['content_type'] or 'unknown type'}"),
            ("log", f"partition {event['partition']}, offset {event['offset']}"),
            ("trace", " > ".join(event["trace"])),
        ]
    )
    for one in event["errors"]:
        typer.echo(f"  {show.plain(one['path'])}: {show.plain(one['reason'])}")
    for one in event["deliveries"]:
        _show_delivery(one)


def _show_delivery(one: Any) -> None:
    again = f", next attempt {one['next_attempt_at']}" if one["next_attempt_at"] else ""
    typer.echo(f"\n{show.plain(one['subscription'])}: {one['state']}, priority {one['priority']}{again}")
    for attempt in one["attempts"]:
        result = attempt["error"] or f"HTTP {attempt['status']}"
        said = f": {show.plain(attempt['response'])}" if attempt.get("response") else ""
        line = f"{attempt['number']:>3}. {attempt['at']}  {attempt['duration_ms']} ms  {show.plain(result)}{said}"
        typer.echo(line + (" (late)" if attempt.get("late") else ""))
