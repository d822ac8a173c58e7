"""A shop: payments before code events before snack updates, a handler that fails for a while, and bad events.

`make demo`. Three publishers, each in its own way: payments in Avro straight to Kafka, GitHub's webhooks signed as GitHub
signs them, snack updates as JSON over HTTP. It ends with a table, and exits with 1 if anything accepted was not delivered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import secrets
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
from aiohttp import web
from aiokafka import AIOKafkaProducer
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from certes.clock import Clock, from_rfc3339
from certes.demos.stack import Client, Stack, StartError, local_stack
from certes.errors import Unauthorized
from certes.registry.framing import frame
from certes.signing import secret_key, verify

PAYMENT = "shop.example/_/1/payment"
SNACK = "shop.example/_/1/snack_update"
CODE = "community.certes.dev/github/1/*"
PRIORITIES = {PAYMENT: 9, CODE: 4, SNACK: 1}
NAMES = {PAYMENT: "payments", CODE: "GitHub webhooks", SNACK: "snack updates"}
COUNTS = {PAYMENT: 100, CODE: 60, SNACK: 400}
OUTAGE_SECONDS = 4.0
PATIENCE_SECONDS = 90.0

PAYMENT_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "payment",
    "fields": [{"name": "order", "type": "string"}, {"name": "cents", "type": "long"}],
}
SNACK_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "snack_update",
    "fields": [{"name": "snack", "type": "string"}, {"name": "stock", "type": "int"}],
}

console = Console()


@dataclass
class Tally:
    """What the publishers know of one kind: sent, accepted, refused with reasons."""

    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Handlers:
    """The receiving side: checks each signature, drops what it has had, and lets payments fail at first."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.called: dict[str, float] = {}  #: when each event came first, seconds since 1970
        self.seen: dict[str, set[str]] = {uri: set() for uri in NAMES}
        self.keys: dict[str, list[bytes]] = {}
        self.forged = 0
        self.down_until = 0.0
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/{kind}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner

    async def _handle(self, request: web.Request) -> web.Response:
        uri = next(uri for uri, name in NAMES.items() if slug(name) == request.match_info["kind"])
        body = await request.read()
        try:
            verify({k.lower(): v for k, v in request.headers.items()}, body, keys=self.keys[uri], now=self.clock.now())
        except Unauthorized:
            self.forged += 1
            return web.Response(status=401)
        self.called.setdefault(request.headers["webhook-id"], self.clock.now())
        if uri == PAYMENT and self.clock.now() < self.down_until:
            return web.Response(status=503, text="the database is away")
        await asyncio.sleep(0.02 if uri == SNACK else 0)
        self.seen[uri].add(request.headers["webhook-id"])
        return web.Response()


def slug(name: str) -> str:
    return name.lower().replace(" ", "-")


async def prepare(client: Client, handlers: Handlers, github_secret: str) -> dict[str, int]:
    """Schemas, source, priorities, back-offs and subscriptions. The schema ids by URI."""
    ids = {}
    for uri, schema in ((PAYMENT, PAYMENT_SCHEMA), (SNACK, SNACK_SCHEMA)):
        ids[uri] = (await client.must("POST", f"/api/schemas/{uri}", {"schema": schema}))["id"]
    source = {
        "scheme": "github",
        "secrets": [github_secret],
        "uri": "community.certes.dev/github/1/{header:x-github-event}",
    }
    await client.must("PUT", "/api/sources/github", source)
    policy = {"strategy": "exponential", "initial_seconds": 0.5, "factor": 2, "max_delay_seconds": 2}
    await client.must("PUT", f"/api/backoffs/event/{PAYMENT}", policy)
    for uri, priority in PRIORITIES.items():
        await client.must("PUT", f"/api/priorities/event/{uri}", {"priority": priority})
        destination = {"url": f"{handlers.url}/{slug(NAMES[uri])}"}
        made = await client.must("POST", "/api/subscriptions", {"uri": uri, "destination": destination})
        shown = await client.must("GET", f"/api/subscriptions/{made['id']}/secrets")
        handlers.keys[uri] = [secret_key(one["secret"]) for one in shown["secrets"]]
    return ids


async def publish_payments(stack: Stack, schema_id: int, tally: Tally) -> None:
    """Avro in Confluent framing, straight to Kafka; the last record is damaged."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all")
    await producer.start()
    try:
        for number in range(COUNTS[PAYMENT]):
            buffer = io.BytesIO()
            payment = {"order": f"o-{number}", "cents": 4200 + number}
            fastavro.schemaless_writer(buffer, fastavro.parse_schema(PAYMENT_SCHEMA), payment)
            value = frame(schema_id, buffer.getvalue() if number < COUNTS[PAYMENT] - 1 else b"\xff\xff")
            await producer.send_and_wait("certes.events", value, key=f"customer-{number % 7}".encode())
            tally.sent += 1
            tally.accepted += 1
            await asyncio.sleep(0.02)
    finally:
        await producer.stop()


async def publish_webhooks(client: Client, secret: str, tally: Tally) -> None:
    """As GitHub does it; one call has a wrong signature."""
    for number in range(COUNTS[CODE]):
        event = ("push", "issues", "star")[number % 3]
        body = json.dumps({"ref": "refs/heads/main", "number": number, "sender": {"login": "octocat"}}).encode()
        key = secret if number else "not the secret"
        headers = {
            "content-type": "application/json",
            "x-github-event": event,
            "x-github-delivery": f"demo-{number}",
            "x-hub-signature-256": "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest(),
        }
        note(tally, *await client.post("/events/from/github", body, headers))
        await asyncio.sleep(0.03)


async def publish_snacks(client: Client, tally: Tally) -> None:
    """JSON over HTTP; one breaks its schema."""
    for number in range(COUNTS[SNACK]):
        stock: int | str = number if number != 7 else "plenty"
        note(tally, *await client.call("POST", f"/events/{SNACK}", {"snack": "crisps", "stock": stock}))


def note(tally: Tally, status: int, answer: Mapping[str, Any]) -> None:
    tally.sent += 1
    if status == 202:
        tally.accepted += 1
    else:
        reasons = "; ".join(f"{one['path']} {one['reason']}" for one in answer.get("errors", []))
        tally.refused[f"{status}: {reasons or answer['detail']}"] += 1


async def settle(client: Client) -> list[dict[str, Any]]:
    """Wait until no event is on its way; all events."""
    accepted = sum(COUNTS.values()) - 2
    for _ in range(int(PATIENCE_SECONDS / 0.5)):
        events = await client.every("/api/events")
        if len(events) >= accepted and not any(one["state"] in ("accepted", "delivering") for one in events):
            return events
        await asyncio.sleep(0.5)
    return await client.every("/api/events")


def report(tallies: Mapping[str, Tally], events: list[dict[str, Any]], handlers: Handlers) -> bool:
    """Print the table; whether all that was accepted and valid has arrived."""
    table = Table(
        box=box.SIMPLE,
        title="What happened",
        caption="waited: milliseconds from arrival to the first call, half of them | all",
    )
    for column in ("", "prio", "sent", "accepted", "rejected", "delivered", "retried", "waited"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    complete = not handlers.forged
    for uri, tally in tallies.items():
        mine = [one for one in events if (one["uri"] or "").startswith(uri.rstrip("*"))]
        rejected = [one for one in mine if one["state"] == "rejected"]
        delivered = [one for one in mine if one["state"] == "delivered"]
        complete &= len(delivered) + len(rejected) == tally.accepted == len(mine)
        complete &= {one["id"] for one in delivered} == handlers.seen[uri]
        refused = tally.refused + Counter(one["errors"][0]["reason"] for one in rejected)
        for reason, count in refused.items():
            console.print(f"  rejected {NAMES[uri]}: {count} x {reason}", highlight=False, soft_wrap=True)
        retried = sum(one["deliveries"][0]["attempt"] > 1 for one in delivered)
        counts = (PRIORITIES[uri], tally.sent, tally.accepted, refused.total(), len(delivered), retried)
        table.add_row(NAMES[uri], *map(str, counts), waits(delivered, handlers))
    console.print(table)
    return complete


def waits(events: list[dict[str, Any]], handlers: Handlers) -> str:
    waited = sorted((handlers.called[one["id"]] - from_rfc3339(one["received_at"])) * 1000 for one in events)
    return f"{waited[len(waited) // 2]:.0f} | {waited[-1]:.0f}" if waited else ""


async def play(stack: Stack) -> bool:
    handlers, github_secret = Handlers(), secrets.token_hex(16)
    runner = await handlers.start()
    tallies = {uri: Tally() for uri in NAMES}
    try:
        async with Client(stack) as client:
            ids = await prepare(client, handlers, github_secret)
            with Progress(
                SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True
            ) as progress:
                progress.add_task("three publishers send, the payment handler is down for a while ...")
                handlers.down_until = handlers.clock.now() + OUTAGE_SECONDS
                await asyncio.gather(
                    publish_snacks(client, tallies[SNACK]),
                    publish_webhooks(client, github_secret, tallies[CODE]),
                    publish_payments(stack, ids[PAYMENT], tallies[PAYMENT]),
                )
                events = await settle(client)
            return report(tallies, events, handlers)
    finally:
        await runner.cleanup()


async def main() -> int:
    try:
        async with local_stack() as stack:
            complete = await play(stack)
    except StartError as error:
        console.print(f"[red]The demo failed:[/] {error}")
        return 1
    console.print(
        "[green]Everything accepted was delivered, each once, signed.[/]"
        if complete
        else "[red]Something accepted was not delivered.[/]"
    )
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
