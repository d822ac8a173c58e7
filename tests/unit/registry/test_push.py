from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certes.errors import Conflict, Invalid, Violation
from certes.registry.push import Pushed, push
from certes.registry.subjects import uri_in
from certes.uri import EventUri

URI = EventUri.parse("a.dev/shop/1/pay-ment")
SUBJECT = "dev.a.shop.v1.pay_ment"


def record(*fields, **more):
    return {"type": "record", "name": "Anything", "fields": list(fields), **more}


CENTS = {"name": "cents", "type": "long"}
FIRST = record(CENTS)
SECOND = record(CENTS, {"name": "note", "type": "string", "default": ""})


def stored(fake):
    return [json.loads(fake.texts[schema_id - 1]) for schema_id in fake.subjects.get(SUBJECT, [])]


async def test_versions_count_from_zero(client, fake):
    assert await push(client, URI, FIRST) == Pushed(URI, "1.0", 1, created=True)
    assert await push(client, URI, json.dumps(SECOND)) == Pushed(URI, "1.1", 2, created=True)
    assert [uri_in(schema) for schema in stored(fake)] == [URI, URI]
    assert stored(fake)[0]["name"] == "pay_ment"


async def test_the_same_schema_changes_nothing(client, fake):
    await push(client, URI, FIRST)
    await push(client, URI, SECOND)
    assert await push(client, URI, SECOND) == Pushed(URI, "1.1", 2, created=False)
    assert await push(client, URI, FIRST) == Pushed(URI, "1.0", 1, created=False)
    assert await push(client, URI, stored(fake)[1]) == Pushed(URI, "1.1", 2, created=False)
    assert len(stored(fake)) == 2


async def test_a_dry_run_says_what_would_happen(client, fake):
    assert await push(client, URI, FIRST, dry_run=True) == Pushed(URI, "1.0", None, created=True)
    assert fake.subjects == {}
    await push(client, URI, FIRST)
    assert await push(client, URI, SECOND, dry_run=True) == Pushed(URI, "1.1", None, created=True)
    assert await push(client, URI, FIRST, dry_run=True) == Pushed(URI, "1.0", 1, created=False)
    with pytest.raises(Conflict):
        await push(client, URI, record({"name": "x", "type": "int"}), dry_run=True)
    assert len(stored(fake)) == 1


async def test_what_breaks_is_refused_with_every_reason_and_the_way_out(client, fake):
    await push(client, URI, SECOND)
    broken = record({"name": "cents", "type": "string"}, {"name": "more", "type": "int"})
    with pytest.raises(Conflict, match=r"next major, a\.dev/shop/2/pay-ment") as caught:
        await push(client, URI, broken)
    assert caught.value.errors == (
        Violation("$.cents", "was long, is now string"),
        Violation("$.more", "is new and has no default"),
    )
    assert len(stored(fake)) == 1


async def test_the_registry_may_be_stricter(client, fake):
    await push(client, URI, FIRST)
    fake.incompatible = ("forward: note is gone",)
    with pytest.raises(Conflict, match="next major") as caught:
        await push(client, URI, SECOND)
    assert caught.value.errors == (Violation("$", "forward: note is gone"),)


async def test_the_registry_has_the_last_word(client, fake):
    fake.incompatible = ("against an older version",)
    with pytest.raises(Conflict, match="next major"):
        await push(client, URI, FIRST)


async def test_two_uris_of_one_subject(client, fake):
    await push(client, URI, FIRST)
    other = EventUri.parse("a.dev/shop/1/pay.ment")
    with pytest.raises(Conflict, match=r"a.dev/shop/1/pay.ment and a.dev/shop/1/pay-ment both"):
        await push(client, other, FIRST)


async def test_two_majors_are_two_subjects(client):
    await push(client, URI, FIRST)
    second = EventUri.parse("a.dev/shop/2/pay-ment")
    assert (await push(client, second, record({"name": "x", "type": "int"}))).version == "2.0"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{", "not JSON"),
        ('"string"', "record"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "record"),
        (record({"name": "a", "type": "Elsewhere"}), "not valid Avro"),
        (record({"name": "a", "type": "int", "default": "x"}), "Default value"),
        (record({"name": "a", "type": [["int"]]}), "not valid Avro"),
        ({"type": "record", "name": "R", "fields": {1: 2}}, "not JSON"),
        (record({"name": "a", "type": {"type": "record", "name": "pay_ment", "fields": []}}), "not valid Avro"),
    ],
)
async def test_what_is_no_event_schema_is_invalid(client, fake, schema, reason):
    with pytest.raises(Invalid, match=reason):
        await push(client, URI, schema)
    assert fake.subjects == {}


keys = st.sampled_from(
    ["type", "name", "namespace", "fields", "items", "symbols", "size", "aliases", "default", "certes"]
)
words = st.sampled_from(["record", "enum", "fixed", "array", "int", "R", ""])
sources = st.recursive(
    st.none() | st.integers(-3, 10) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner | words, max_size=5),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(source=sources)
async def test_any_json_is_pushed_or_refused(client, source):
    for schema in (source, record(source), record({"name": "a", "type": source})):
        try:
            await push(client, URI, schema, dry_run=True)
        except (Invalid, Conflict) as error:
            assert str(error)  # noqa: PT017 - both outcomes are right
