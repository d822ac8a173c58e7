"""Verdicts: schema, content and configuration lead to routes, reasons, or what the event waits for."""

from __future__ import annotations

import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.admission import LARGE, MAX_PROBLEMS, Admission, attributes, is_avro
from certes.clock import rfc3339
from certes.command import Verdict
from certes.config import Config, encode
from certes.event import Problem, SchemaRef
from certes.records import AVRO, JSON, Arrival
from certes.registry.cache import MISSING
from certes.registry.framing import frame
from certes.registry.schema import Schema
from certes.source import Source
from certes.subscription import Destination, Secret, StoredSubscription, Subscription
from certes.uri import EventUri

URI = "shop.dev/_/1/payment"
SOURCE = {
    "type": "record",
    "name": "payment",
    "namespace": "dev.shop.v1",
    "fields": [{"name": "order", "type": "string"}, {"name": "cents", "type": "long"}],
}
SCHEMA = Schema.parse(
    orjson.dumps(SOURCE).decode(), schema_id=7, subject="dev.shop.v1.payment", version=2, uri=EventUri.parse(URI)
)
PAYMENT = {"order": "o-1", "cents": 4200}


class Known:
    """What the registry's cache holds."""

    def __init__(self, by_id=(), latest=()):
        self.by_id = dict(by_id)
        self.of_uri = dict(latest)

    def cached(self, schema_id):
        return self.by_id.get(schema_id)

    def cached_latest(self, uri):
        return self.of_uri.get(str(uri))


def configured(*subscriptions, schemas=None, sources=None):
    config = Config()
    for number, fields in enumerate(subscriptions):
        spec = Subscription(**{"uri": "shop.dev/*", "destination": Destination(url="https://h.example"), **fields})
        secret = Secret(secret="whsec_YQ==", created_at=rfc3339(0))
        one = StoredSubscription(
            id=f"sub_{number}", created_at=rfc3339(0), updated_at=rfc3339(0), secrets=(secret,), spec=spec
        )
        config.subscriptions[one.id] = one
    config.sources.update(sources or {})
    if schemas is not None:
        config.apply("config/global", encode({"schemas": schemas}), 0)
    config.rebuild_router()
    return config


def admission(known=None, config=None):
    known = known or Known({7: SCHEMA}, {URI: SCHEMA})
    config = config or configured({})
    return Admission(schemas=known, config=lambda: config)


def arrival(value=PAYMENT, **kwargs):
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    fields = {"id": "evt_1", "partition": 0, "offset": 1, "received_at": 5, "source": "kafka", "uri": URI, **kwargs}
    return Arrival(value=raw, checksum=zlib.crc32(raw), **fields)


def avro(value=PAYMENT, schema_id=7, **kwargs):
    return arrival(frame(schema_id, SCHEMA.encode(value)), **{"uri": None, **kwargs})


def subscriptions(verdict):
    return [route.subscription for route in verdict.routes]


def test_avro_is_named_by_its_schema_and_routed():
    verdict = admission()(avro())
    assert verdict == Verdict(uri=URI, schema=SchemaRef(7, "1.1"), routes=verdict.routes)
    assert subscriptions(verdict) == ["sub_0"]


def test_json_is_validated_and_all_that_is_wrong_is_said():
    assert subscriptions(admission()(arrival())) == ["sub_0"]
    verdict = admission()(arrival({"cents": "much"}))
    assert len(verdict.errors) == 2
    assert {problem.path for problem in verdict.errors} >= {"$.cents"}
    assert (verdict.uri, verdict.schema, verdict.routes) == (URI, SchemaRef(7, "1.1"), ())


def test_what_the_gateway_has_validated_is_not_validated_again():
    verdict = admission()(arrival({"not": "valid"}, schema_id=7, source="shop"))
    assert subscriptions(verdict) == ["sub_0"]


def test_problems_are_bounded():
    fields = [{"name": f"f{number}", "type": "int"} for number in range(MAX_PROBLEMS * 2)]
    schema = Schema.parse(orjson.dumps({**SOURCE, "fields": fields}).decode(), schema_id=8, subject="s", uri=SCHEMA.uri)
    assert len(admission(Known(latest={URI: schema}))(arrival({})).errors) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("one", "waits"),
    [
        (avro(), "schema 7"),
        (arrival(schema_id=9), "schema 9"),
        (arrival(), f"schema of {URI}"),
        (arrival(b"x" * (LARGE + 1)), "large"),
    ],
)
def test_what_is_not_known_yet_is_waited_for(one, waits):
    found = admission(Known())(one)
    assert isinstance(found, Problem)
    assert waits in found.reason


def test_a_body_at_the_limit_is_judged_at_once():
    value = orjson.dumps({**PAYMENT, "order": "x" * LARGE})[-LARGE:]
    assert isinstance(admission()(arrival(value)), Verdict)


def test_an_event_without_schema_waits_only_where_one_is_required():
    none = Known(latest={URI: MISSING})
    github = {"github": Source(scheme="github", uri=URI)}
    assert isinstance(admission(none)(arrival()), Problem)
    assert isinstance(admission(none, configured({}, schemas={"default": "required"}))(arrival()), Problem)
    for config in (
        configured({}, schemas={"default": "optional"}),
        configured({}, schemas={"domains": {"shop.dev": "optional"}}),
    ):
        verdict = admission(none, config)(arrival())
        assert (verdict.schema, subscriptions(verdict)) == (None, ["sub_0"])
    assert subscriptions(admission(none, configured({}, sources=github))(arrival(source="github"))) == ["sub_0"]
    required = {"github": Source(scheme="github", uri=URI, schemas="required")}
    assert isinstance(admission(none, configured({}, sources=required))(arrival(source="github")), Problem)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (arrival(b""), "no value"),
        (arrival(b"{", content_type=JSON), "no JSON"),
        (arrival(uri=None), "unknown event type"),
        (arrival(uri="not/an/uri"), "unknown event type"),
        (avro(content_type=JSON, uri=URI), "no JSON"),
        (arrival(b"\x00\x00"), "framing"),
        (arrival(b"\x01" + b"g" * 16), "GUID"),
        (arrival(frame(7, b"\x02")), "not Avro of schema 7"),
        (arrival(frame(7, SCHEMA.encode(PAYMENT) + b"!")), "bytes behind"),
    ],
)
def test_what_cannot_be_taken_is_rejected_with_the_reason(one, reason):
    verdict = admission()(one)
    assert isinstance(verdict, Verdict)
    assert reason in verdict.errors[0].reason
    assert verdict.routes == ()


def test_a_schema_nobody_adopted_needs_a_name_in_the_record():
    schema = Schema.parse(orjson.dumps(SOURCE).decode(), schema_id=7, subject="dev.shop.v1.payment", version=1)
    known = Known({7: schema})
    assert "unknown event type" in admission(known)(avro()).errors[0].reason
    verdict = admission(known)(avro(uri=URI))
    assert (verdict.uri, verdict.schema) == (URI, SchemaRef(7, None))


def test_filters_see_the_payload_and_the_attributes():
    config = configured(
        {"filter": "data.cents > 1000"},
        {"filter": "data.cents > 9000"},
        {"filter": 'event.source == "kafka" && event.key == "k" && event.name == "payment"'},
        {"filter": "data.missing == 1"},
        {"uri": "other.dev/*"},
    )
    for one in (avro(key="k"), arrival(key="k")):
        assert subscriptions(admission(config=config)(one)) == ["sub_0", "sub_2"]


def test_a_payload_that_a_filter_needs_and_nobody_can_read_is_rejected():
    config = configured({"filter": "data.cents > 1000"}, schemas={"default": "optional"})
    verdict = admission(Known(latest={URI: MISSING}), config)(arrival(b"no JSON"))
    assert "no JSON" in verdict.errors[0].reason


def test_attributes_of_filters():
    one = attributes(arrival(ce_source="/repo"), EventUri.parse("a.dev/x/y/2/z"))
    assert one["namespace"] == "x/y"
    assert (one["version"], one["name"], one["ce_source"], one["key"], one["domain"]) == (2, "z", "/repo", "", "a.dev")


@pytest.mark.parametrize(
    ("content_type", "value", "expected"),
    [
        (AVRO, b"{}", True),
        ("Application/Avro; x=1", b"", True),
        (JSON, b"\x00", False),
        (None, b"\x00", True),
        (None, b"\x01", True),
        (None, b"{}", False),
        (None, b"", False),
    ],
)
def test_avro_is_told_by_its_content_type_or_its_first_byte(content_type, value, expected):
    assert is_avro(content_type, value) is expected


@given(
    st.binary(max_size=40) | st.binary(max_size=20).map(lambda raw: frame(7, raw)),
    st.none() | st.sampled_from([JSON, AVRO, "text/plain"]),
    st.none() | st.just(URI) | st.text(max_size=20),
    st.none() | st.integers(0, 9),
)
def test_any_record_gets_a_verdict_or_waits(value, content_type, uri, schema_id):
    one = arrival(value, content_type=content_type, uri=uri, schema_id=schema_id)
    assert isinstance(admission()(one), Verdict | Problem)
