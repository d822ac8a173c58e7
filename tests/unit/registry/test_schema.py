from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Invalid, Malformed
from certes.registry.schema import MAX_NESTING, Schema
from certes.uri import EventUri

URI = EventUri.parse("a.dev/shop/2/payment")


def schema(source, **more):
    return Schema.parse(json.dumps(source), schema_id=7, subject="s", **more)


PAYMENT = schema(
    {
        "type": "record",
        "name": "payment",
        "fields": [
            {"name": "order", "type": "string"},
            {"name": "cents", "type": "long"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "rate", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
            {"name": "customer", "type": ["null", {"type": "string", "logicalType": "uuid"}], "default": None},
            {"name": "proof", "type": "bytes", "default": ""},
        ],
    }
)

payments = st.fixed_dictionaries(
    {
        "order": st.text(),
        "cents": st.integers(-(2**63), 2**63 - 1),
        "at": st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
        "rate": st.decimals(-(10**12), 10**12, places=4),
        "customer": st.none() | st.uuids(),
        "proof": st.binary(),
    }
)


@given(payments)
def test_decode_reverses_encode_and_the_json_form_is_valid(value):
    decoded = PAYMENT.decode(PAYMENT.encode(value))
    assert decoded == value
    form = PAYMENT.to_json(decoded)
    assert PAYMENT.validate(json.loads(json.dumps(form))) == ()


def test_the_json_form():
    value = {
        "proof": b"",
        "order": "o",
        "cents": 1,
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "rate": Decimal("1.5"),
        "customer": UUID(int=1),
    }
    assert PAYMENT.to_json(PAYMENT.decode(PAYMENT.encode(value))) == {
        "order": "o",
        "cents": 1,
        "at": "2026-01-02T00:00:00Z",
        "rate": "1.5000",
        "customer": "00000000-0000-0000-0000-000000000001",
        "proof": "",
    }


@given(st.binary(max_size=100))
def test_any_body_is_decoded_or_malformed(body):
    with suppress(Malformed):
        assert PAYMENT.decode(body).keys() == {"order", "cents", "at", "rate", "customer", "proof"}


def test_bytes_behind_the_value_are_malformed():
    with pytest.raises(Malformed, match="behind"):
        schema("int").decode(b"\x02\x00")


def test_what_would_take_the_process_is_malformed():
    node = schema({"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]})
    with pytest.raises(Malformed, match="levels"):
        node.decode(b"\x02" * 1_000_000 + b"\x00")


def test_a_time_that_no_calendar_has_is_malformed():
    far = schema({"type": "long", "logicalType": "timestamp-millis"})
    with pytest.raises(Malformed):
        far.decode(schema("long").encode(2**62))


@pytest.mark.parametrize("value", [None, {}, {"order": 1}, [], {"order": "o", "cents": 2**70, "at": 1, "rate": 1}])
def test_what_does_not_fit_is_not_encoded(value):
    with pytest.raises(Invalid, match="does not fit schema 7"):
        PAYMENT.encode(value)


def test_the_release_users_see():
    assert schema("int", version=1, uri=URI).release == "2.0"
    assert schema("int", version=3, uri=URI).release == "2.2"
    assert schema("int", version=None, uri=URI).release is None
    assert schema("int", version=3).release is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Other"}]}', "'Other'"),
        ('{"type": "record"}', "not Avro"),
        ('{"type": {"type": []}}', "not Avro"),
        ("5", "not Avro"),
        ('{"__fastavro_parsed": true, "type": "record"}', "not Avro"),
        ('{"type":"array","items":' * MAX_NESTING + '"int"' + "}" * MAX_NESTING, "levels deep"),
    ],
)
def test_what_is_no_schema_is_invalid(text, reason):
    with pytest.raises(Invalid, match=reason):
        Schema.parse(text, schema_id=1, subject="s")


def test_defaults_that_other_registries_accept_do_not_hurt():
    lenient = schema({"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "int"], "default": 1}]})
    assert lenient.validate({}) == ()


keys = st.sampled_from(
    [
        "type",
        "name",
        "fields",
        "items",
        "values",
        "symbols",
        "size",
        "logicalType",
        "precision",
        "scale",
        "default",
        "certes",
    ]
)
words = st.sampled_from(
    ["record", "enum", "fixed", "array", "map", "int", "bytes", "decimal", "R", "__fastavro_parsed"]
)
sources = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner | words, max_size=5),
    max_leaves=20,
)


@given(sources)
def test_any_json_is_a_schema_or_invalid(source):
    try:
        made = schema(source)
    except Invalid:
        return
    made.validate({"a": 1})
