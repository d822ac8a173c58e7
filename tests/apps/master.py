"""The Master API of some workers, over tables, a log and a configuration in memory: real views, real SQL, real HTTP."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from aiohttp.test_utils import TestServer
from yarl import URL

from certes import backoffs, event
from certes.api import Deps, create_api
from certes.api.ports import Status
from certes.backoffs import BackoffRow
from certes.clock import FrozenClock
from certes.command import Command
from certes.config import ConfigLog, Member
from certes.config_writer import ConfigWriter
from certes.delivery import Attempt, Delivery
from certes.errors import Conflict, Gone, NotFound, Unavailable
from certes.event import EventRow, event_id
from certes.fold import command_applied
from certes.registry.push import Pushed
from certes.registry.schema import Schema
from certes.registry.subjects import subject_of
from certes.settings import Admin, Cluster, Log, Settings, Worker
from certes.uri import EventUri
from tables.backoffs import BackoffsProjection
from tables.events import EventsProjection
from tables.projection import Projection
from tables.views import TableViews

ADMIN_KEY = "key_admin"
PARTITIONS = 4
NOW_MS = 1_700_000_000_000
EVENT = "events.meetly.com/shop/1/payment"


class MemoryTable:
    """A table as `tables.table.Table` reads it, without Faust and without files."""

    def __init__(self, projection: Projection, partitions: Sequence[int]) -> None:
        self._projection = projection
        self._dbs = {partition: self._made() for partition in partitions}

    def _made(self) -> sqlite3.Connection:
        db = sqlite3.connect(":memory:")
        db.execute("create table rows (key blob primary key, value blob not null, applied integer not null)")
        for view in self._projection.views:
            db.executescript(view.ddl)
        return db

    def put(self, partition: int, key: bytes, value: bytes) -> None:
        projected = self._projection.project(key, value)
        db = self._dbs[partition]
        db.execute("insert or replace into rows values (?, ?, ?)", (key, value, projected.applied))
        for view, rows in zip(self._projection.views, projected.rows, strict=True):
            db.executemany(view.insert, rows)

    async def query(self, partition: int, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if partition not in self._dbs:
            raise Unavailable(f"partition {partition} is not on this worker")
        return self._dbs[partition].execute(sql, params).fetchall()


class MemoryPayloads:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.responses: dict[tuple[int, int], str] = {}

    async def value(self, row: EventRow) -> bytes:
        if row.id not in self.values:
            raise Gone(f"the payload of {row.id} is no longer in the log")
        return self.values[row.id]

    async def outcome_response(
        self, partition: int, offset: int, *, event: str, subscription: str, attempt: int
    ) -> str:
        if (partition, offset) not in self.responses:
            raise Gone("the outcome is no longer in the log")
        return self.responses[partition, offset]


class MemoryRegistry:
    """Keeps what is pushed; whatever has a field `broken` is incompatible."""

    def __init__(self) -> None:
        self.schemas: dict[EventUri, list[Schema]] = {}

    async def latest(self, uri: EventUri) -> Schema:
        return (await self.versions(uri))[-1]

    async def versions(self, uri: EventUri) -> Sequence[Schema]:
        if uri not in self.schemas:
            raise NotFound(f"there is no schema for {uri}")
        return self.schemas[uri]

    async def list(self) -> Sequence[Schema]:
        return [versions[-1] for versions in self.schemas.values()]

    async def push(self, uri: EventUri, schema: dict[str, Any] | str, *, dry_run: bool = False) -> Pushed:
        text = schema if isinstance(schema, str) else '{"type":"record","name":"x","fields":[]}'
        number = len(self.schemas.get(uri, ())) + 1
        parsed = Schema.parse(text, schema_id=number, subject=subject_of(uri), version=number, uri=uri)
        if isinstance(schema, dict) and schema.get("broken"):
            raise Conflict("the schema is incompatible with the newest version")
        if not dry_run:
            self.schemas.setdefault(uri, []).append(parsed)
        return Pushed(uri, f"{uri.version}.{number - 1}", None if dry_run else number, created=True)


class Bus:
    """What workers share: the configuration, its offsets, the clock, the registry."""

    def __init__(self) -> None:
        self.clock = FrozenClock(NOW_MS / 1000)
        self.registry = MemoryRegistry()
        self.records: list[tuple[str, bytes | None]] = []
        self.workers: list[MasterWorker] = []

    async def append(self, key: str, value: bytes | None) -> int:
        self.records.append((key, value))
        for worker in self.workers:
            worker.read_config()
        return len(self.records) - 1


class MasterWorker:
    """One worker: its tables, what it would say of itself, and the application that answers for it."""

    def __init__(self, bus: Bus, *, name: str, partitions: Sequence[int]) -> None:
        self.bus = bus
        self.name = name
        self.owned = frozenset(partitions)
        self.reads_config = True
        self.status = Status(ready=True)
        self.running: set[tuple[str, str]] = set()
        self.commands: list[Command] = []
        self.folded = dict.fromkeys(partitions, -1)
        self.ends = dict.fromkeys(partitions, -1)
        self.folds_commands = True
        self.log = ConfigLog(kafka="", topic="config", on_fatal=_fatal)
        self.payloads = MemoryPayloads()
        self.events = MemoryTable(EventsProjection(), partitions)
        self.backoffs = MemoryTable(BackoffsProjection(), partitions)
        self.settings = Settings(
            log=Log(partitions=PARTITIONS),
            cluster=Cluster.model_validate({"key": base64.b64encode(b"k" * 32).decode()}),
            admin=Admin.model_validate({"key": ADMIN_KEY}),
            worker=Worker(id=name),
        )
        bus.workers.append(self)

    async def start(self) -> None:
        self.session = aiohttp.ClientSession()
        self.writer = ConfigWriter(
            log=self.log, append=self.bus.append, session=self.session,
            cluster_key=self.settings.cluster_key, member_id=self.name, clock=self.bus.clock,
        )  # fmt: skip
        self.server = TestServer(create_api(self._deps()))
        await self.server.start_server()
        self.read_config()
        await self.announce()

    async def announce(self) -> None:
        url = str(self.server.make_url("")).rstrip("/")
        member = Member(id=self.name, role="worker", url=url, partitions=tuple(sorted(self.owned)))
        await self.writer.announce(member)

    async def stop(self) -> None:
        await self.server.close()
        await self.session.close()

    def read_config(self) -> None:
        if not self.reads_config:
            return
        config = self.log.config
        for offset, (key, value) in list(enumerate(self.bus.records))[config.offset + 1 :]:
            config.apply(key, value, offset)
        config.rebuild_router()

    def put(self, row: EventRow, payload: bytes = b"{}") -> None:
        self.events.put(row.partition, row.id.encode(), event.dump(row))
        self.payloads.values[row.id] = payload
        self.folded[row.partition] = self.ends[row.partition] = max(self.folded[row.partition], row.applied)

    def put_backoff(self, partition: int, row: BackoffRow) -> None:
        self.backoffs.put(partition, row.subscription.encode(), backoffs.dump(row))

    async def row(self, identifier: str) -> EventRow:
        row = await self._views().event(event.partition_of(identifier), identifier)
        assert row is not None
        return row

    async def send_command(self, command: Command) -> int:
        self.commands.append(command)
        row = await self.row(command.event)
        self.ends[row.partition] += 1
        if self.folds_commands:
            self.put(command_applied(row, command, offset=self.ends[row.partition]))
        return self.ends[row.partition]

    async def _end(self, partition: int) -> int:
        return self.ends[partition]

    def _views(self) -> TableViews:
        return TableViews(
            events=self.events, backoffs=self.backoffs, owned=lambda: self.owned,
            folded=self.folded.__getitem__, end=self._end,
        )  # fmt: skip

    def _deps(self) -> Deps:
        return Deps(
            settings=self.settings,
            config_log=self.log,
            config_writer=self.writer,
            clock=self.bus.clock,
            tables=self._views(),
            payloads=self.payloads,
            registry=self.bus.registry,
            status=lambda: self.status,
            send_command=self.send_command,
            is_running=lambda event, subscription: (event, subscription) in self.running,
            session=self.session,
        )


def _fatal(error: BaseException) -> None:
    raise error


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes
    json: Any


async def call(worker: MasterWorker, method: str, path: str, json: Any = None, *, key: str | None = ADMIN_KEY,
               headers: dict[str, str] | None = None) -> Answer:  # fmt: skip
    """One request to one worker, as somebody with a key would make it."""
    credentials = {} if key is None else {"authorization": f"Bearer {key}"}
    url = URL(str(worker.server.make_url("")).rstrip("/") + path, encoded=True)
    kwargs = {"data": json} if isinstance(json, bytes) else {"json": json} if json is not None else {}
    async with (
        aiohttp.ClientSession(headers={**credentials, **(headers or {})}) as session,
        session.request(method, url, allow_redirects=False, **kwargs) as answer,
    ):
        body = await answer.read()
        document = await answer.json(content_type=None) if "json" in answer.headers.get("content-type", "") else None
        return Answer(answer.status, answer.headers, body, document)


def row(number: int, *, partition: int = 0, deliveries: tuple[Delivery, ...] = (), **fields: Any) -> EventRow:
    """An event: the `number`-th record of its partition, received so many seconds after NOW."""
    state = event.state_of(deliveries)
    made = EventRow(
        v=event.ROW_VERSION, id=event_id(partition=partition, source="kafka", given=str(number)), partition=partition,
        offset=number, applied=number, received_at=NOW_MS + number * 1000, checksum=zlib.crc32(b"{}"), size=2,
        state=state, source="kafka", uri=EVENT, deliveries=deliveries, content_type="application/json", trace=("gw.1", f"eb.{partition}-{number}"),
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def delivery(subscription: str = "sub_a", state: Any = "pending", **fields: Any) -> Delivery:
    given = {"priority": 4, "due": NOW_MS, "since": NOW_MS, **fields}
    return Delivery(subscription=subscription, state=state, **given)


def attempt(number: int, **fields: Any) -> Attempt:
    given = {
        "epoch": 1,
        "at": NOW_MS + number * 1000,
        "duration_ms": 12,
        "record": 100 + number,
        "trace": f"ec.{number}",
    }
    return Attempt(number=number, **{**given, **fields})


WANTED = {"uri": EVENT, "destination": {"url": "http://127.0.0.1:8000/hooks"}}


async def made(worker: MasterWorker, **fields: Any) -> dict[str, Any]:
    answer = await call(worker, "POST", "/api/subscriptions", {**WANTED, **fields})
    assert answer.status == 201, answer.body
    return answer.json  # type: ignore[no-any-return]


async def items(worker: MasterWorker, path: str) -> list[dict[str, Any]]:
    answer = await call(worker, "GET", path)
    assert answer.status == 200, answer.body
    return answer.json["items"]  # type: ignore[no-any-return]
