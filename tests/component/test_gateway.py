"""The gateway's web application over a log, a registry and a configuration in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from certes import records
from certes.access import key_hash
from certes.clock import FrozenClock
from certes.config import Config, Member, encode
from certes.errors import NotFound, Unavailable
from certes.gateway.app import public_app
from certes.gateway.intake import Intake
from certes.gateway.lag import Lag
from certes.gateway.passing import Passing
from certes.gateway.publishers import Publishers
from certes.gateway.views import Views
from certes.log import partition_for
from certes.registry.framing import frame
from certes.registry.schema import Schema
from certes.uri import EventUri

CLUSTER_KEY = b"k" * 32
PAYMENT = "events.meetly.com/shop/1/payment"
UNKNOWN = "events.meetly.com/shop/1/unknown"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LIMIT = 4096
SCHEMA = {
    "type": "record",
    "name": "payment",
    "namespace": "com.meetly.events.shop.v1",
    "fields": [{"name": "order", "type": "string"}, {"name": "cents", "type": "long"}],
}


@dataclass(frozen=True)
class Record:
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int = 1_700_000_000_000


@dataclass
class MemoryLog:
    records: list[Record] = field(default_factory=list)
    down: bool = False

    async def append(
        self, *, value: bytes | None, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> tuple[int, int]:
        if self.down:
            raise Unavailable("Kafka has not acknowledged", retry_after=5)
        self.records.append(Record(partition, len(self.records), key, value, list(headers)))
        return partition, len(self.records) - 1

    def read(self) -> list[records.Arrival]:
        found = [records.read(record, cluster_key=CLUSTER_KEY) for record in self.records]
        assert all(isinstance(one, records.Arrival) for one in found)
        return [one for one in found if isinstance(one, records.Arrival)]


@dataclass
class MemorySchemas:
    schemas: dict[EventUri, Schema] = field(default_factory=dict)
    down: bool = False

    async def latest(self, uri: EventUri) -> Schema:
        if self.down:
            raise Unavailable("the registry does not answer")
        if uri not in self.schemas:
            raise NotFound(f"there is no schema for {uri}")
        return self.schemas[uri]

    async def by_id(self, schema_id: int) -> Schema:
        for schema in self.schemas.values():
            if schema.id == schema_id:
                return schema
        raise NotFound(f"there is no schema {schema_id}")


@dataclass
class Rig:
    client: TestClient[web.Request, web.Application]
    log: MemoryLog
    schemas: MemorySchemas
    config: Config
    lag: Lag
    clock: FrozenClock
    views: Views

    def put(self, key: str, value: Any) -> None:
        self.config.apply(key, encode(value), self.config.offset + 1)

    async def post(
        self, path: str, body: bytes | Any, headers: dict[str, str] | None = None, *, key: str | None = "key_shop"
    ) -> tuple[int, Any]:
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.client.post(path, data=data, headers=sent) as response:
            answer = orjson.loads(await response.read())
            if response.status >= 400:
                assert response.content_type == "application/problem+json"
                assert answer["status"] == response.status
                assert {"type", "title", "detail"} <= answer.keys()
            return response.status, answer


def configured() -> Config:
    config = Config()
    entries: dict[str, Any] = {
        "key/key_1": {"hash": key_hash("key_shop"), "name": "shop", "roles": ["events:write"], "expires_at": None},
        "key/key_2": {"hash": key_hash("key_read"), "name": "reader", "roles": ["events:read"], "expires_at": None},
        "key/key_3": {
            "hash": key_hash("key_old"), "name": "old", "roles": ["admin"], "expires_at": "2020-01-01T00:00:00Z"
        },
        "source/github": {
            "scheme": "github", "secrets": ["s1", "s2"], "uri": "community.certes.dev/github/1/{header:x-github-event}"
        },
        "source/partner": {"scheme": "standard", "secrets": [SECRET], "uri": "partner.com/_/1/{body:type}"},
        "source/open": {"scheme": "none", "uri": "open.org/_/1/{body:type}", "id_header": "x-id"},
        "source/strict": {"scheme": "none", "uri": "strict.org/_/1/x", "schemas": "required"},
    }  # fmt: skip
    for offset, (key, value) in enumerate(entries.items()):
        config.apply(key, encode(value), offset)
    return config


def make_rig() -> tuple[Rig, web.Application]:
    config, clock, log = configured(), FrozenClock(), MemoryLog()
    uri = EventUri.parse(PAYMENT)
    schema = Schema.parse(
        orjson.dumps(SCHEMA).decode(), schema_id=7, subject="com.meetly.events.shop.v1.payment", version=1, uri=uri
    )
    schemas = MemorySchemas({uri: schema})
    lag = Lag(workers=config.workers, cluster_key=CLUSTER_KEY, most_seconds=2.0)
    intake = Intake(
        log=log, schemas=schemas, config=lambda: config, cluster_key=CLUSTER_KEY, partitions=12, clock=clock
    )

    async def there() -> bool:
        return True

    async def away() -> bool:
        return False

    views = Views(
        intake=intake,
        publishers=Publishers(config=lambda: config, admin_key="key_admin", clock=clock),
        lag=lag,
        config=lambda: config,
        clock=clock,
        max_body_bytes=LIMIT,
        ready={"kafka": there, "workers": away},
    )
    views.closed = None
    passing = Passing(config.workers)
    app = public_app(views=views, passing=passing, max_body_bytes=LIMIT)

    async def stop(_app: web.Application) -> None:
        await passing.stop()

    app.on_cleanup.append(stop)
    return Rig(client=None, log=log, schemas=schemas, config=config, lag=lag, clock=clock, views=views), app  # type: ignore[arg-type]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made, app = make_rig()
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # as the service listens
    async with TestClient(server) as client:
        made.client = client
        yield made


# -- POST /events/{event URI} ---------------------------------------------------------------------------------------


async def test_the_answered_id_is_the_one_the_broker_derives(rig: Rig) -> None:
    status, answer = await rig.post(f"/events/{PAYMENT}", {"order": "o-1", "cents": 1}, {"ce-id": "a-1"})
    assert status == 202
    assert answer.keys() == {"id", "uri"}
    (arrival,) = rig.log.read()
    assert (arrival.id, arrival.uri) == (answer["id"], PAYMENT)
    assert (arrival.source, arrival.given_id, arrival.schema_id) == ("shop", "a-1", 7)
    assert arrival.value == b'{"order":"o-1","cents":1}'
    assert arrival.forged is None


@pytest.mark.parametrize("header", ["ce-id", "Idempotency-Key"])
async def test_a_repeated_call_answers_alike_in_the_same_partition(rig: Rig, header: str) -> None:
    first = await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, {header: "again"})
    second = await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, {header: "again"})
    other = await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, {header: "again"}, key="key_admin")
    assert first == second
    assert first[1]["id"] != other[1]["id"], "another source, another event"
    assert rig.log.records[0].partition == rig.log.records[1].partition


async def test_events_without_an_id_are_different_ones(rig: Rig) -> None:
    ids = {(await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}))[1]["id"] for _ in range(20)}
    assert len(ids) == 20


async def test_the_partition_key_orders(rig: Rig) -> None:
    for number in range(5):
        headers = {"ce-partitionkey": "customer-7", "ce-id": str(number)}
        await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, headers)
    assert {record.partition for record in rig.log.records} == {partition_for(b"customer-7", 12)}
    assert {arrival.key for arrival in rig.log.read()} == {"customer-7"}


async def test_what_publishers_say_is_kept_beside_what_is_verified(rig: Rig) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {
        "ce-source": "/till/4", "ce-time": "2026-11-24T16:03:00.123456789Z", "traceparent": parent,
        "certes-trace": "gw.1, eb.2-3, not an id", "ce-subject": "Gr%C3%BC%C3%9Fe", "certes_source": "forged",
    }  # fmt: skip
    await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, headers)
    (arrival,) = rig.log.read()
    assert (arrival.source, arrival.ce_source) == ("shop", "/till/4")
    assert (arrival.time, arrival.traceparent) == ("2026-11-24T16:03:00.123456789Z", parent)
    assert arrival.trace[:2] == ("ext.gw.1", "ext.eb.2-3")
    assert arrival.trace[2].startswith("gw.")
    assert arrival.trace[3] == f"eb.{arrival.partition}-{arrival.offset}"
    assert dict(rig.log.records[0].headers)["ce_subject"] == "Grüße".encode()


async def test_who_may_publish(rig: Rig) -> None:
    body = {"order": "o", "cents": 1}
    assert (await rig.post(f"/events/{PAYMENT}", body, key=None))[0] == 401
    assert (await rig.post(f"/events/{PAYMENT}", body, key="key_wrong"))[0] == 401
    assert (await rig.post(f"/events/{PAYMENT}", body, key="key_old"))[0] == 401
    assert (await rig.post(f"/events/{PAYMENT}", body, key="key_read"))[0] == 403
    assert rig.log.records == []
    rig.put("key/key_2", {"hash": key_hash("key_read"), "name": "reader", "roles": ["admin"], "expires_at": None})
    assert (await rig.post(f"/events/{PAYMENT}", body, key="key_read"))[0] == 202


async def test_a_source_may_sign_instead(rig: Rig) -> None:
    body = b'{"order":"o","cents":1}'
    at = int(rig.clock.now())
    signature = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), b"m.%d.%b" % (at, body), "sha256")
    headers = {
        "webhook-id": "m", "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }  # fmt: skip
    Webhook(SECRET)  # the same secret is one to the official library
    assert (await rig.post(f"/events/{PAYMENT}", body, headers, key=None))[0] == 202
    assert (await rig.post(f"/events/{PAYMENT}", body, {**headers, "ce-source": "partner"}, key=None))[0] == 202
    assert {(arrival.source, arrival.given_id) for arrival in rig.log.read()} == {("partner", "m")}
    assert (await rig.post(f"/events/{PAYMENT}", body + b" ", headers, key=None))[0] == 401
    rig.clock.move(301)
    assert (await rig.post(f"/events/{PAYMENT}", body, headers, key=None))[0] == 401


async def test_violations_are_told_with_their_paths(rig: Rig) -> None:
    status, answer = await rig.post(f"/events/{PAYMENT}", {"order": 3})
    assert status == 422
    assert {one["path"] for one in answer["errors"]} == {"$.order", "$.cents"}
    assert rig.log.records == []


async def test_own_events_need_a_schema_unless_their_domain_says_not(rig: Rig) -> None:
    status, answer = await rig.post(f"/events/{UNKNOWN}", {})
    assert status == 404
    assert f"certes schemas push {UNKNOWN}" in answer["detail"]
    rig.put("config/global", {"schemas": {"default": "required", "domains": {"events.meetly.com": "optional"}}})
    assert (await rig.post(f"/events/{UNKNOWN}", {}))[0] == 202
    (arrival,) = rig.log.read()
    assert arrival.schema_id is None


async def test_a_registry_that_is_down_stops_only_what_needs_it(rig: Rig) -> None:
    rig.schemas.down = True
    assert (await rig.post(f"/events/{PAYMENT}", {"order": 3}))[0] == 503
    rig.put("config/global", {"schemas": {"default": "optional"}})
    assert (await rig.post(f"/events/{PAYMENT}", {"order": 3}))[0] == 202
    (arrival,) = rig.log.read()
    assert arrival.schema_id is None, "the broker has to look for itself"


async def test_avro_framed_and_plain(rig: Rig) -> None:
    schema = rig.schemas.schemas[EventUri.parse(PAYMENT)]
    plain = schema.encode({"order": "o", "cents": 1})
    headers = {"content-type": "application/avro"}
    for body in (frame(7, plain), plain):
        assert (await rig.post(f"/events/{PAYMENT}", body, headers))[0] == 202
    assert [record.value for record in rig.log.records] == [frame(7, plain)] * 2
    assert {arrival.content_type for arrival in rig.log.read()} == {"application/avro"}
    for wrong in (b"", frame(7, plain + b"!"), frame(8, plain), b"\xff" * 40):
        assert (await rig.post(f"/events/{PAYMENT}", wrong, headers))[0] == 400
    assert (await rig.post(f"/events/{UNKNOWN}", plain, headers))[0] == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b'{"order": NaN, "cents": 1}', {}, 400),
        (b'{"order": "\xff", "cents": 1}', {}, 400),
        (b"[" * 3000, {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"content-type": "application/json; charset=latin-1"}, 415),
        (b"{}", {"ce-id": ""}, 400),
        (b"{}", {"ce-id": "x" * 1025}, 400),
        (b"{}", {"ce-id": "%FF"}, 400),
        (b"{}", {"ce-time": "yesterday"}, 400),
        (b"{}", {"ce-time": "2026-11-24T16:03:00"}, 400),
        (b"{}", {"ce-specversion": "0.3"}, 400),
        (b"{}", {"ce-type": UNKNOWN}, 400),
        (b" " * (LIMIT + 1), {}, 413),
    ],
)
async def test_what_is_refused(rig: Rig, body: bytes, headers: dict[str, str], status: int) -> None:
    assert (await rig.post(f"/events/{PAYMENT}", body, headers))[0] == status
    assert rig.log.records == []


async def test_a_body_without_a_length_is_limited_too(rig: Rig) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * LIMIT

    headers = {"authorization": "Bearer key_shop", "content-type": "application/json"}
    async with rig.client.post(f"/events/{PAYMENT}", data=endless(), headers=headers) as response:
        assert response.status == 413
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["no", "a/b/c", "UPPER.dev/_/1/x", "a.dev/_/one/x", "a.dev/_/1/x%20y", "a.dev/_/1/"])
async def test_no_event_uri(rig: Rig, path: str) -> None:
    assert (await rig.post(f"/events/{path}", {}))[0] == 400


async def test_kafka_that_does_not_acknowledge(rig: Rig) -> None:
    rig.log.down = True
    headers = {"authorization": "Bearer key_shop", "content-type": "application/json"}
    body = b'{"order":"o","cents":1}'
    async with rig.client.post(f"/events/{PAYMENT}", data=body, headers=headers) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")


async def test_nothing_is_taken_while_the_fold_is_behind_or_the_gateway_starts(rig: Rig) -> None:
    rig.lag._seconds = {"w1": 2.5}
    assert (await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}))[0] == 503
    rig.lag._seconds = {"w1": 1.9}
    assert (await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}))[0] == 202
    rig.views.closed = "the gateway is stopping"
    assert (await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}))[0] == 503


# -- POST /events: CloudEvents --------------------------------------------------------------------------------------


def cloud_event(**attributes: Any) -> CloudEvent:
    given = {"id": "c-1", "source": "/till", "type": PAYMENT, "datacontenttype": "application/json", **attributes}
    return CloudEvent(attributes=given, data={"order": "Grüße", "cents": 1})


@pytest.mark.parametrize("mode", [to_binary, to_structured])
async def test_the_official_sdk_publishes(rig: Rig, mode: Any) -> None:
    message = mode(cloud_event(subject='ein "Süßer" 100%', partitionkey="k"), JSONFormat())
    status, answer = await rig.post("/events", message.body, message.headers)
    assert status == 202
    (arrival,) = rig.log.read()
    assert (arrival.id, arrival.uri, arrival.schema_id) == (answer["id"], PAYMENT, 7)
    assert (arrival.given_id, arrival.ce_source, arrival.key) == ("c-1", "/till", "k")
    assert dict(rig.log.records[0].headers)["ce_subject"] == 'ein "Süßer" 100%'.encode()
    assert orjson.loads(arrival.value) == {"order": "Grüße", "cents": 1}


async def test_all_modes_make_the_same_event(rig: Rig) -> None:
    answers = []
    for mode in (to_binary, to_structured):
        message = mode(cloud_event(), JSONFormat())
        answers.append(await rig.post("/events", message.body, message.headers))
    headers = {"ce-id": "c-1", "ce-source": cloud_event().get_source()}
    direct = await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, headers)
    assert answers == [direct, direct]
    other = await rig.post(f"/events/{PAYMENT}", {"order": "o", "cents": 1}, {**headers, "ce-source": "/another"})
    assert other[1]["id"] != direct[1]["id"], "an id is unique within its source"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "x"])
async def test_encoded_bodies_are_refused(rig: Rig, encoding: str) -> None:
    status, problem = await rig.post(f"/events/{PAYMENT}", b"\x00", {"content-encoding": encoding})
    assert (status, problem["status"]) == (415, 415)


async def test_structured_payloads_keep_their_bytes(rig: Rig) -> None:
    data = b'{"order":  "\\u00e9", "cents": 12345678901234567890123, "more": 1.10}'
    rig.put("config/global", {"schemas": {"default": "optional"}})
    body = b'{"specversion":"1.0","id":"1","source":"s","type":"%b","data":%b}' % (UNKNOWN.encode(), data)
    assert (await rig.post("/events", body, {"content-type": "application/cloudevents+json"}))[0] == 202
    assert rig.log.records[0].value == data


async def test_data_base64(rig: Rig) -> None:
    schema = rig.schemas.schemas[EventUri.parse(PAYMENT)]
    value = frame(7, schema.encode({"order": "o", "cents": 1}))
    event = {
        "specversion": "1.0", "id": "1", "source": "s", "type": PAYMENT, "datacontenttype": "application/avro",
        "data_base64": base64.b64encode(value).decode(),
    }  # fmt: skip
    headers = {"content-type": "application/cloudevents+json"}
    assert (await rig.post("/events", event, headers))[0] == 202
    assert rig.log.records[0].value == value
    assert (await rig.post("/events", {**event, "data": 1}, headers))[0] == 400
    assert (await rig.post("/events", {**event, "data_base64": "?"}, headers))[0] == 400
    assert (await rig.post("/events", {**event, "data_base64": 3}, headers))[0] == 400


def batch_of(count: int) -> list[dict[str, Any]]:
    return [
        {"specversion": "1.0", "id": f"b-{n}", "source": "s", "type": PAYMENT, "data": {"order": "o", "cents": n}}
        for n in range(count)
    ]


BATCH = {"content-type": "application/cloudevents-batch+json"}


async def test_a_batch(rig: Rig) -> None:
    status, answer = await rig.post("/events", batch_of(400), BATCH)
    assert status == 202
    assert [one["id"] for one in answer] == [arrival.id for arrival in rig.log.read()]
    assert (await rig.post("/events", [], BATCH)) == (202, [])


async def test_a_batch_is_all_or_nothing(rig: Rig) -> None:
    events = batch_of(6)
    events[1]["type"] = "nonsense"
    del events[2]["source"]
    events[4]["specversion"] = "2.0"
    status, answer = await rig.post("/events", [*events, 3], BATCH)
    assert status == 400
    paths = [one["path"] for one in answer["errors"]]
    assert paths == ["$[1].type", "$[2].source", "$[4].specversion", "$[6]"]
    events = batch_of(4)
    events[3]["data"] = {"order": "o", "cents": "x"}
    status, answer = await rig.post("/events", events, BATCH)
    assert (status, [one["path"] for one in answer["errors"]]) == (422, ["$[3].data.cents"])
    assert rig.log.records == []


async def test_an_event_of_a_batch_has_the_limit_of_any_event(rig: Rig) -> None:
    events = batch_of(2)
    events[1]["data"]["order"] = "x" * LIMIT
    assert (await rig.post("/events", events, BATCH))[0] == 413
    assert (await rig.post("/events", b" " * (LIMIT * 16 + 1), BATCH))[0] == 413


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {}, 400),
        (b"{}", {"ce-specversion": "1.0"}, 400),
        (b"{}", {"content-type": "application/cloudevents+avro"}, 415),
        (b"{}", {"content-type": "application/cloudevents+json"}, 400),
        (b"[]", {"content-type": "application/cloudevents+json"}, 400),
        (b"{}", BATCH, 400),
        (b"[" * 4000, BATCH, 400),
        (b'{"a":' * 800, {"content-type": "application/cloudevents+json"}, 400),
    ],
)
async def test_what_is_no_cloud_event(rig: Rig, body: bytes, headers: dict[str, str], status: int) -> None:
    assert (await rig.post("/events", body, headers))[0] == status


async def test_all_that_is_missing_is_named(rig: Rig) -> None:
    _, answer = await rig.post("/events", b"{}", {"ce-type": PAYMENT})
    assert [one["path"] for one in answer["errors"]] == ["ce-specversion", "ce-id", "ce-source"]


# -- POST /events/from/{source} -------------------------------------------------------------------------------------


def github(body: bytes, secret: str = "s2", event: str = "push") -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={signature}", "x-github-event": event, "x-github-delivery": "d-1"}


async def test_github(rig: Rig) -> None:
    body = b'{ "ref": "refs/heads/main" }'
    status, answer = await rig.post("/events/from/github", body, github(body), key=None)
    assert (status, answer["uri"]) == (202, "community.certes.dev/github/1/push")
    (arrival,) = rig.log.read()
    assert (arrival.source, arrival.given_id, arrival.schema_id) == ("github", "d-1", None)
    assert arrival.id == answer["id"]
    assert arrival.value == body


async def test_github_refusals(rig: Rig) -> None:
    body = b"{}"
    for headers in ({}, {**github(body), "x-hub-signature-256": "sha256=00"}, github(body, "wrong"), github(b"{} ")):
        assert (await rig.post("/events/from/github", body, headers, key=None))[0] == 401
    status, answer = await rig.post(
        "/events/from/github", body, {k: v for k, v in github(body).items() if k != "x-github-event"}, key=None
    )
    assert status == 400
    assert "x-github-event" in answer["detail"]
    form = b"payload=%7B%7D"
    headers = {**github(form), "content-type": "application/x-www-form-urlencoded"}
    assert (await rig.post("/events/from/github", form, headers, key=None))[0] == 415
    assert (await rig.post("/events/from/nobody", b"{}", key=None))[0] == 404
    assert (await rig.post("/events/from/github", b"{", github(b"{"), key=None))[0] == 400
    assert rig.log.records == []


async def test_a_third_partys_event_that_breaks_its_schema_is_taken(rig: Rig) -> None:
    rig.put("source/shopsystem", {"scheme": "none", "uri": PAYMENT})
    assert (await rig.post("/events/from/shopsystem", {"order": 3}, key=None))[0] == 202
    (arrival,) = rig.log.read()
    assert arrival.schema_id is None


async def test_a_source_that_requires_schemas(rig: Rig) -> None:
    assert (await rig.post("/events/from/strict", {}, key=None))[0] == 404


async def test_ids_of_third_parties(rig: Rig) -> None:
    for _ in range(2):
        await rig.post("/events/from/open", {"type": "a/b c"}, {"x-id": "1"}, key=None)
    await rig.post("/events/from/open", {"type": "a"}, key=None)
    ids = [arrival.id for arrival in rig.log.read()]
    assert ids[0] == ids[1] != ids[2]
    assert rig.log.read()[0].uri == "open.org/_/1/a_b_c"
    assert (await rig.post("/events/from/open", {"type": "a"}, {"x-id": "x" * 1025}, key=None))[0] == 400


# -- health, and what is passed on ----------------------------------------------------------------------------------


async def test_health(rig: Rig) -> None:
    async with rig.client.get("/healthz") as response:
        assert response.status == 200
    async with rig.client.get("/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"ok": False, "components_unavailable": ["workers"]}


async def seen(request: web.Request) -> web.StreamResponse:
    if request.path == "/api/stream":
        response = web.StreamResponse(headers={"Connection": "x-hop", "X-Hop": "1", "ETag": '"e"'})
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk)
        return response
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = (await request.read()).decode()
    return web.json_response({"path": request.raw_path, "headers": headers, "body": body}, status=207)


@pytest.fixture
async def worker(rig: Rig) -> AsyncIterator[TestServer]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", seen)
    async with TestServer(app) as server:
        dead = Member(id="a", role="worker", url="http://127.0.0.1:9")
        alive = Member(id="b", role="worker", url=str(server.make_url("/")))
        for member in (dead, alive):
            rig.put(f"member/{member.id}", member.model_dump(mode="json"))
        yield server


async def test_the_api_is_passed_on_to_a_live_worker(rig: Rig, worker: TestServer) -> None:
    headers = {"Connection": "x-hop", "X-Hop": "1", "If-Match": '"e"', "Authorization": "Bearer key_x"}
    async with rig.client.put("/api/sources/a%2Fb?q=%C3%A4&x=1", data=b"body", headers=headers) as response:
        assert response.status == 207
        answer = await response.json()
    assert answer["path"] == "/api/sources/a%2Fb?q=%C3%A4&x=1"
    assert answer["body"] == "body"
    assert answer["headers"]["if-match"] == '"e"'
    assert answer["headers"]["authorization"] == "Bearer key_x"
    assert answer["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert "x-hop" not in answer["headers"]


async def test_bodies_are_streams_in_both_directions(rig: Rig, worker: TestServer) -> None:
    body = bytes(range(256)) * 4000
    async with rig.client.post("/api/stream", data=body) as response:
        assert (response.status, response.headers["ETag"]) == (200, '"e"')
        assert "X-Hop" not in response.headers
        assert await response.read() == body
    async with rig.client.head("/") as response:
        assert response.status == 207


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/internal/lag", 404), ("GET", "/%69nternal/lag", 404), ("GET", "/metrics", 404),
        ("GET", "//internal/lag", 404), ("GET", f"/events/{PAYMENT}", 405), ("DELETE", "/events", 405),
    ],
)  # fmt: skip
async def test_what_is_not_passed_on(rig: Rig, worker: TestServer, method: str, path: str, status: int) -> None:
    from yarl import URL

    url = URL(str(rig.client.make_url("/")).rstrip("/") + path, encoded=True)
    async with rig.client.session.request(method, url) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"


async def test_no_worker(rig: Rig) -> None:
    async with rig.client.get("/api/events") as response:
        assert response.status == 503
        assert response.headers["Retry-After"]


# -- any input ------------------------------------------------------------------------------------------------------

ANSWERS = {202, 400, 401, 403, 404, 405, 413, 415, 422, 503}
PATHS = [f"/events/{PAYMENT}", "/events", "/events/from/open", "/events/from/github", "/events/from/partner"]
NAMES = st.sampled_from(
    [
        "ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time", "ce-partitionkey", "ce-subject", "idempotency-key",
        "content-type", "certes-trace", "traceparent", "webhook-id", "webhook-timestamp", "webhook-signature", "x-id",
        "x-hub-signature-256", "x-github-event", "authorization", "content-encoding",
    ]
)  # fmt: skip
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40) | st.sampled_from(
    ["application/json", "application/avro", "application/cloudevents+json", "application/cloudevents-batch+json",
     "1.0", PAYMENT, "gzip", "deflate", "%FF", '"\\', "2026-11-24T16:03:00Z", "0001-01-01T00:00:00+14:00", "Bearer key_shop",
     "1700000000", "v1,", "sha256="]
)  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | NAMES, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "specversion": st.just("1.0") | JSON_VALUES, "id": TEXTS | JSON_VALUES, "source": TEXTS | JSON_VALUES,
        "type": st.just(PAYMENT) | JSON_VALUES, "time": JSON_VALUES, "datacontenttype": TEXTS, "data": JSON_VALUES,
        "data_base64": TEXTS, "ext": JSON_VALUES, "ALSO": JSON_VALUES,
    },
)  # fmt: skip
BODIES = st.binary(max_size=64) | (JSON_VALUES | EVENTS | st.lists(EVENTS, max_size=4)).map(orjson.dumps)


async def test_any_input_gives_an_answer_of_the_contract() -> None:
    rig, app = make_rig()
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # as the service listens
    async with TestClient(server) as client:
        rig.client = client

        async def ask(path: str, headers: dict[str, str], body: bytes) -> int:
            async with client.post(path, data=body, headers=headers) as response:
                answer = orjson.loads(await response.read())
                assert (response.status == 202) == ("detail" not in answer)
                return response.status

        import asyncio

        loop = asyncio.get_running_loop()

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(PATHS), st.dictionaries(NAMES, TEXTS, max_size=8), BODIES, st.booleans())
        def fuzz(path: str, headers: dict[str, str], body: bytes, known: bool) -> None:
            if known:
                headers = {**headers, "authorization": "Bearer key_shop"}
            status = asyncio.run_coroutine_threadsafe(ask(path, headers, body), loop).result(30)
            assert status in ANSWERS

        await asyncio.to_thread(fuzz)
    assert all(arrival.forged is None for arrival in rig.log.read())


@pytest.mark.parametrize(
    "head",
    [
        b"POST /events/%b HTTP/1.1\r\nce-id: \xff\xfe" % PAYMENT.encode(),
        b"POST /events/%b HTTP/1.1\r\ncertes-trace: \xff\r\ntraceparent: \xff\r\nce-subject: \xc3\xa4"
        % PAYMENT.encode(),
        b"POST /events/%b HTTP/1.1\r\nIdempotency-Key: \xff" % PAYMENT.encode(),
        b"POST /events/%b\xff HTTP/1.1\r\nx: y" % PAYMENT.encode(),
        b"POST /events/%b%%ff HTTP/1.1\r\nx: y" % PAYMENT.encode(),
        b"POST /events/from/open HTTP/1.1\r\nx-id: \xff",
        b"POST /events/from/\xff HTTP/1.1\r\nx-id: 1",
        b"POST /events/from/partner HTTP/1.1\r\nwebhook-id: \xff\r\nwebhook-timestamp: 1700000000\r\nwebhook-signature: \xff",
        b"POST /events/from/github HTTP/1.1\r\nx-hub-signature-256: sha256=\xff",
        b"GET /api/\xff HTTP/1.1\r\nx: y",
        b"GET http://elsewhere.example/api HTTP/1.1\r\nx: y",
    ],
)
async def test_bytes_that_no_client_library_sends(rig: Rig, head: bytes) -> None:
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", rig.client.port)
    body = b'{"order": "o", "cents": 1, "type": "t"}'
    rest = b"\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer key_shop\r\nContent-Type: application/json\r\n"
    writer.write(head + rest + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read()
    writer.close()
    assert int(answer.split()[1]) in ANSWERS, answer
    assert all(arrival.forged is None for arrival in rig.log.read())
