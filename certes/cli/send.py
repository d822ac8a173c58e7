"""`certes send`: publish one event through a gateway."""

from __future__ import annotations

import string
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from certes.cli.client import Client
from certes.uri import EventUri

#: Printable ASCII but for those that the CloudEvents HTTP binding has encoded: space, quotation mark, percent.
_AS_IT_IS = "".join(set(string.printable) - set(string.whitespace) - set('"%'))


def send(
    uri: Annotated[str, typer.Argument(metavar="URI", help="domain/namespace/version/event")],
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The payload; without: standard input.")] = "-",
    *,
    key: Annotated[str | None, typer.Option(help="Ordering key, e.g. the customer.")] = None,
    identifier: Annotated[str | None, typer.Option("--id", help="Id by which a repeated call is known.")] = None,
    source: Annotated[str | None, typer.Option(help="CloudEvents source, kept beside the verified one.")] = None,
    avro: Annotated[bool, typer.Option("--avro", help="The payload is Avro, not JSON.")] = False,
) -> None:
    """Publish an event and print its id: by then Kafka has acknowledged it."""
    target = EventUri.parse(uri)
    attributes = {"ce-id": identifier, "ce-source": source, "ce-partitionkey": key}
    headers = {name: quote(text, safe=_AS_IT_IS) for name, text in attributes.items() if text is not None}
    headers["content-type"] = "application/avro" if avro else "application/json"
    client = Client.from_environment()
    answer = client.call("POST", f"/events/{target}", body=_read(file), headers=headers)
    typer.echo(answer.json()["id"])


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from error
