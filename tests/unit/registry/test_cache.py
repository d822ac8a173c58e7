from __future__ import annotations

import asyncio

import pytest

from certes.errors import Invalid, NotFound, Unavailable
from certes.registry.cache import LATEST_SECONDS, MISSING, Registry
from certes.registry.memory import NEGATIVE_SECONDS
from certes.uri import EventUri

URI = EventUri.parse("a.dev/shop/1/payment")
PLAIN = {
    "type": "record",
    "name": "payment",
    "namespace": "dev.a.shop.v1",
    "fields": [{"name": "cents", "type": "long"}],
}
ADOPTED = {**PLAIN, "certes": {"uri": str(URI)}}
WIDER = {**PLAIN, "fields": [*PLAIN["fields"], {"name": "note", "type": "string", "default": ""}]}


@pytest.fixture
async def registry(client, clock):
    registry = Registry(client, clock=clock)
    yield registry
    await registry.close()


async def test_an_id_is_asked_for_once(registry, fake, clock):
    schema_id = fake.put(ADOPTED)
    assert registry.cached(schema_id) is None
    schema, *others = await asyncio.gather(*[registry.by_id(schema_id) for _ in range(5)])
    assert (schema.id, schema.subject, schema.version, schema.uri) == (schema_id, "dev.a.shop.v1.payment", 1, URI)
    assert all(other is schema for other in others)
    asked = len(fake.requests)
    fake.down = True
    clock.move(10 * 365 * 86_400)
    assert registry.cached(schema_id) is await registry.by_id(schema_id) is schema
    assert len(fake.requests) == asked


async def test_the_newest_uri_counts_for_versions_before_and_after(registry, fake):
    ids = [fake.put(PLAIN), fake.put(ADOPTED), fake.put(WIDER)]
    assert [(await registry.by_id(schema_id)).uri for schema_id in ids] == [URI] * 3
    assert [(await registry.by_id(schema_id)).release for schema_id in ids] == ["1.0", "1.1", "1.2"]
    assert (await registry.latest(URI)).id == ids[2]
    assert [(one.id, one.release, one.uri) for one in await registry.versions(URI)] == [
        (schema_id, f"1.{minor}", URI) for minor, schema_id in enumerate(ids)
    ]


async def test_the_record_name_is_the_subject_wherever_it_was_registered(registry, fake):
    schema_id = fake.put(PLAIN, subject="certes.events-value")
    assert (await registry.by_id(schema_id)).uri is None
    fake.put(ADOPTED)
    await registry.push(URI, WIDER)
    schema = await registry.by_id(schema_id)
    assert (schema.uri, schema.version, schema.release) == (URI, None, None)


async def test_an_id_without_uri_waits_for_its_adoption(registry, fake, clock):
    schema_id = fake.put(PLAIN)
    assert (await registry.by_id(schema_id)).uri is None
    assert registry.cached(schema_id).uri is None
    fake.put(ADOPTED)  # by another process
    clock.move(NEGATIVE_SECONDS)
    assert registry.cached(schema_id) is None
    assert (await registry.by_id(schema_id)).uri == URI


async def test_pushing_adopts_at_once(registry, fake):
    schema_id = fake.put(PLAIN)
    assert (await registry.by_id(schema_id)).uri is None
    with pytest.raises(NotFound, match="has not been adopted"):
        await registry.latest(URI)
    pushed = await registry.push(URI, PLAIN)
    assert (pushed.version, pushed.created) == ("1.1", True)
    assert (await registry.by_id(schema_id)).uri == URI
    assert (await registry.latest(URI)).id == pushed.id


async def test_latest_is_unknown_missing_or_known(registry, fake, clock):
    assert registry.cached_latest(URI) is None
    with pytest.raises(NotFound):
        await registry.latest(URI)
    assert registry.cached_latest(URI) is MISSING
    fake.put(ADOPTED)
    clock.move(NEGATIVE_SECONDS)
    assert registry.cached_latest(URI) is None
    assert await registry.latest(URI) is registry.cached_latest(URI)


async def test_latest_is_no_older_than_its_time(registry, fake, clock):
    fake.put(ADOPTED)
    first = await registry.latest(URI)
    second = fake.put(WIDER)
    clock.move(LATEST_SECONDS - 20)
    assert await registry.latest(URI) is first
    clock.move(20)
    assert registry.cached_latest(URI) is None
    assert (await registry.latest(URI)).id == second


async def test_the_registry_may_go_away(registry, fake, clock):
    schema_id = fake.put(ADOPTED)
    known, latest = await registry.by_id(schema_id), await registry.latest(URI)
    assert registry.down_since is None
    fake.down = True
    clock.move(LATEST_SECONDS)
    assert await registry.latest(URI) is latest
    assert registry.cached_latest(URI) is latest
    assert registry.cached(schema_id) is known
    assert registry.down_since == clock.monotonic()
    with pytest.raises(Unavailable):
        await registry.by_id(99)
    fake.down = False
    with pytest.raises(NotFound):
        await registry.by_id(99)


async def test_a_subject_of_another_uri_is_no_schema(registry, fake):
    fake.put(ADOPTED)
    other = EventUri.parse("dev.a/_/1/x")
    with pytest.raises(NotFound):
        await registry.latest(other)
    twin = EventUri.parse("a.dev/shop/1/payment".replace("payment", "pay-ment"))
    fake.put({**PLAIN, "name": "pay_ment", "certes": {"uri": "a.dev/shop/1/pay_ment"}})
    with pytest.raises(NotFound, match=r"belongs to a\.dev/shop/1/pay_ment"):
        await registry.latest(twin)


async def test_an_unreadable_schema_is_invalid_and_remembered(registry, fake):
    schema_id = fake.put('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Elsewhere"}]}', subject="R")
    for _ in range(2):
        with pytest.raises(Invalid, match="'Elsewhere'"):
            await registry.by_id(schema_id)
    assert sum(f"/schemas/ids/{schema_id}" in request for request in fake.requests) == 2  # its text and its uses, once
    assert registry.cached(schema_id) is None


async def test_a_schema_without_a_name_has_no_uri(registry, fake):
    schema = await registry.by_id(fake.put('"string"', subject="certes.events-key"))
    assert (schema.subject, schema.uri, schema.decode(b"\x02a")) == ("", None, "a")


async def test_list_shows_every_subject_that_can_be_read(registry, fake):
    fake.put(PLAIN)
    fake.put(ADOPTED)
    fake.put(WIDER)
    fake.put({**PLAIN, "name": "snack"})
    fake.put("syntax = proto3", subject="proto")
    assert [(one.subject, one.version, one.uri) for one in await registry.list()] == [
        ("dev.a.shop.v1.payment", 3, URI),
        ("dev.a.shop.v1.snack", 1, None),
    ]


async def test_versions_of_nothing(registry):
    with pytest.raises(NotFound):
        await registry.versions(URI)
