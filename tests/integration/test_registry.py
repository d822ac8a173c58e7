"""The registry component and stock Confluent clients on one real registry. Each test has a domain of its own."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from certes.errors import Conflict, Invalid, NotFound, Unavailable
from certes.registry.cache import MISSING, Registry
from certes.registry.client import RegistryClient
from certes.registry.framing import frame, unframe
from certes.registry.subjects import subject_of
from certes.uri import EventUri

CONTEXT = SerializationContext("certes.events", MessageField.VALUE)
CENTS = {"name": "cents", "type": "long"}
NOTE = {"name": "note", "type": ["null", "string"], "default": None}


def record(*fields, name="Payment", **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


@pytest.fixture
def uri():
    return EventUri.parse(f"t{uuid.uuid4().hex}.dev/shop/1/payment")


@pytest.fixture
async def registry(registry_url):
    registry = Registry(RegistryClient(registry_url))
    yield registry
    await registry.close()


def plain(uri, *fields):
    """What a producer that knows only the naming rule writes into its .avsc."""
    namespace, _, name = subject_of(uri).rpartition(".")
    return json.dumps(record(*fields, name=name, namespace=namespace))


async def serialized(registry_url, avsc, value, **conf):
    """What the stock serializer makes of a value; it does blocking HTTP."""

    def work():
        with SchemaRegistryClient({"url": registry_url}) as client:
            return AvroSerializer(client, avsc, conf=conf)(value, CONTEXT)

    return await asyncio.to_thread(work)


async def test_from_a_first_version_to_the_next(registry, uri):
    assert registry.cached_latest(uri) is None
    with pytest.raises(NotFound):
        await registry.latest(uri)
    assert registry.cached_latest(uri) is MISSING

    dry = await registry.push(uri, record(CENTS), dry_run=True)
    assert (dry.version, dry.id) == ("1.0", None)
    first = await registry.push(uri, record(CENTS))
    again = await registry.push(uri, record(CENTS))
    assert (first.version, first.created, again.version, again.created) == ("1.0", True, "1.0", False)
    assert again.id == first.id

    second = await registry.push(uri, record(CENTS, NOTE))
    assert second.version == "1.1"
    assert second.id != first.id
    assert (await registry.push(uri, record(CENTS))).id == first.id
    assert (await registry.latest(uri)).id == second.id
    assert [schema.release for schema in await registry.versions(uri)] == ["1.0", "1.1"]
    assert [(s.release, s.uri) for s in await registry.list() if s.subject == subject_of(uri)] == [("1.1", uri)]
    for pushed in (first, second):
        schema = await registry.by_id(pushed.id)
        assert registry.cached(pushed.id) is schema
        assert (schema.uri, schema.subject, schema.release) == (uri, subject_of(uri), pushed.version)


async def test_what_breaks_is_refused(registry, uri):
    await registry.push(uri, record(CENTS))
    with pytest.raises(Conflict, match="next major") as caught:
        await registry.push(uri, record({"name": "euros", "type": "int"}, {"name": "cents", "type": "string"}))
    assert [error.path for error in caught.value.errors] == ["$.euros", "$.cents"]
    assert [schema.release for schema in await registry.versions(uri)] == ["1.0"]


async def test_two_uris_of_one_subject_are_refused(registry, uri):
    await registry.push(EventUri(uri.domain, uri.namespace, 1, "pay_ment"), record(CENTS))
    with pytest.raises(Conflict, match="choose another name"):
        await registry.push(EventUri(uri.domain, uri.namespace, 1, "pay-ment"), record(CENTS))


@pytest.mark.parametrize("strategy", ["topic", "record"])
async def test_a_stock_producer_that_registers_by_itself_is_adopted(registry, registry_url, uri, strategy):
    avsc = plain(uri, CENTS)
    conf = {"subject.name.strategy": record_subject_name_strategy} if strategy == "record" else {}
    if strategy == "topic":  # one subject for all tests would have to stay compatible
        conf["subject.name.strategy"] = lambda _context, _name: f"{uri.domain}-value"
    value = await serialized(registry_url, avsc, {"cents": 4200}, **conf)

    framed = unframe(value)
    before = await registry.by_id(framed.schema_id)
    assert (before.subject, before.uri) == (subject_of(uri), None)
    assert before.to_json(before.decode(framed.body)) == {"cents": 4200}

    adopted = await registry.push(uri, avsc)
    assert adopted.version == ("1.1" if strategy == "record" else "1.0")
    assert (await registry.by_id(framed.schema_id)).uri == uri
    assert (await registry.by_id(adopted.id)).uri == uri

    later = unframe(await serialized(registry_url, plain(uri, CENTS, NOTE), {"cents": 1, "note": "n"}, **conf))
    newest = await registry.by_id(later.schema_id)
    assert newest.uri == uri
    assert newest.decode(later.body) == {"cents": 1, "note": "n"}


async def test_a_stock_producer_with_the_latest_version(registry, registry_url, uri):
    pushed = await registry.push(uri, record(CENTS, NOTE))
    conf = {
        "auto.register.schemas": False,
        "use.latest.version": True,
        "subject.name.strategy": record_subject_name_strategy,
    }
    framed = unframe(await serialized(registry_url, plain(uri, CENTS), {"cents": 1}, **conf))
    assert framed.schema_id == pushed.id
    assert (await registry.by_id(framed.schema_id)).decode(framed.body) == {"cents": 1, "note": None}


async def test_a_stock_consumer_reads_what_we_write(registry, registry_url, uri):
    pushed = await registry.push(uri, record(CENTS))
    schema = await registry.latest(uri)
    value = frame(pushed.id, schema.encode({"cents": 7}))

    def work():
        with SchemaRegistryClient({"url": registry_url}) as client:
            return AvroDeserializer(client)(value, CONTEXT)

    assert await asyncio.to_thread(work) == {"cents": 7}


async def test_refusals_of_the_registry(registry, registry_url, uri):
    with pytest.raises(NotFound):
        await registry.by_id(2**31 - 1)
    async with RegistryClient(registry_url) as client:
        with pytest.raises(Invalid):
            await client.register(subject_of(uri), "{oops")
        await registry.push(uri, record(CENTS))
        broken = plain(uri, {"name": "x", "type": "int"})
        assert await client.check(subject_of(uri), broken) is not None
        with pytest.raises(Conflict) as caught:
            await client.register(subject_of(uri), broken)
        assert caught.value.errors
    async with RegistryClient(f"{registry_url}/nonsense") as client:
        with pytest.raises(Unavailable, match="URL"):
            await client.subjects()


async def test_another_address_takes_over(registry_url):
    async with RegistryClient(f"http://127.0.0.1:1,{registry_url}") as client:
        assert isinstance(await client.subjects(), list)
