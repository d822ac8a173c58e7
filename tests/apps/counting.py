"""A worker that writes one row per record of its log: what the tests of transport and store run, kill and compare.

Run as a program. The row of a record has the record's offset as `applied` and its value as value.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faust
from mode import Service

from agents.transport.app import App, Options, create_faust_app
from agents.transport.chunk import Chunk, chunks
from tables.projection import Projected, View
from tables.table import Table, add_table

DAY = 86_400.0


class Counting:
    """Rows are `{"applied": n, "text": ...}`."""

    views = (
        View(
            ddl="create table if not exists texts (key blob primary key, text text);",
            delete="delete from texts where key = ?",
            insert="insert or replace into texts (key, text) values (?, ?)",
        ),
        View(
            ddl="create table if not exists letters (key blob, letter text);"
            "create index if not exists letters_key on letters (key);",
            delete="delete from letters where key = ?",
            insert="insert into letters (key, letter) values (?, ?)",
            many=True,
        ),
    )

    def project(self, key: bytes, value: bytes) -> Projected:
        row = json.loads(value)
        return Projected(row["applied"], ([(key, row["text"])], [(key, letter) for letter in row["text"][:3]]))


def row(applied: int, text: str) -> bytes:
    return json.dumps({"applied": applied, "text": text}).encode()


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Web(Service):
    """Stands in for the web service: says whether it was started before recovery."""

    def __init__(self, app: App) -> None:
        super().__init__()
        self.app = app

    async def on_start(self) -> None:
        say(event="web", recovered=self.app.tables.recovery.completed.is_set())


def build(options: Options, *, topic: str, slow: float = 0, fail: str = "") -> tuple[App, Table]:
    """`slow`: seconds per chunk. `fail`: what is to go wrong."""
    app = create_faust_app(options, web=Web)
    table = add_table(
        app, name="counts", projection=Counting(), partitions=options.partitions, log_retention_seconds=DAY
    )

    @app.agent(app.log_topic(topic), name="counting")
    async def counting(stream: faust.Stream[Any]) -> None:
        async for chunk in chunks(stream):
            await asyncio.sleep(slow)
            fold(table, chunk)
            if any(record.value == b"echo" for record in chunk.records):
                app.add_future(echo(app, chunk))

    @table.on_recover
    async def recovered() -> None:
        if fail == "recovery":
            raise ValueError("told to")
        actives = sorted(tp.partition for tp in app.assignor.assigned_actives() if tp.topic == topic)
        say(event="recovered", actives=actives, standbys=sorted(table.store.partitions - set(actives)))

    return app, table


def fold(table: Table, chunk: Chunk) -> None:
    for record in chunk.records:
        key = record.key or b"%d" % record.offset
        if record.value is None:
            table.put(chunk.partition, key, None)
            continue
        text = record.value.decode()
        if text == "raise":
            raise ValueError("told to")
        table.put(chunk.partition, key, row(record.offset, text))
    say(event="folded", partition=chunk.partition, first=chunk.records[0].offset, last=chunk.offset)


async def echo(app: App, chunk: Chunk) -> None:
    """An own record, as outcomes and commands are."""
    sent = await app.producer.send_and_wait(
        chunk.topic, b"echoed", b"echoed", chunk.partition, None, [("kind", b"own")]
    )
    say(event="echoed", offset=sent.offset)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--standbys", type=int, default=0)
    parser.add_argument("--session", type=float, default=6.0)
    parser.add_argument("--slow", type=float, default=0)
    parser.add_argument("--fail", default="")
    args = parser.parse_args(argv)
    options = Options(
        kafka=args.kafka,
        data_dir=args.data,
        partitions=args.partitions,
        name=args.topic,
        standby_replicas=args.standbys,
        session_seconds=args.session,
        heartbeat_seconds=1.0,
        commit_seconds=0.3,
    )
    app, _ = build(options, topic=args.topic, slow=args.slow, fail=args.fail)
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
