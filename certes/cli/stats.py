"""`certes stats`: the bus at a glance."""

from __future__ import annotations

from typing import Any

import typer

from certes.cli import show
from certes.cli.client import Client


def stats(*, as_json: show.AsJson = False) -> None:
    """Queue by priority, events by state, calls in flight, workers and how far they are behind."""
    found = Client.from_environment().get("/api/stats").json()
    if as_json:
        show.json(found)
        return
    show.fields([("events", show.counts(found["events"])), ("in flight", sum(found["in_flight"].values()))])
    _section(("PRIORITY", "PENDING", "WAITING", "OLDEST DUE"), map(_queue, found["queue"]))
    _section(("WORKER", "URL", "PARTITIONS", "BEHIND"), map(_worker, found["workers"]))


def _section(columns: tuple[str, ...], rows: Any) -> None:
    typer.echo()
    show.table(columns, rows)


def _queue(line: Any) -> tuple[Any, ...]:
    return (line["priority"], line["pending"], line["waiting"], line["oldest_due_at"])


def _worker(one: Any) -> tuple[Any, ...]:
    behind = f"{one['lag_seconds']:.1f} s" if one["answers"] else "does not answer"
    return (one["id"], one["url"], one["partitions"], behind)
