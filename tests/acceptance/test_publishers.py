"""Publishers that know nothing of Certes: stock Confluent producers, the CloudEvents SDK, and our own command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.acceptance.bus import Bus
from tests.acceptance.receiver import Receiver, official

TOPIC = "certes.events"


def schema(domain: str) -> dict[str, Any]:
    """A plain schema, as a producer has it in its repository."""
    *below, top = domain.split(".")
    return {
        "type": "record",
        "name": "order",
        "namespace": f"{top}.{'.'.join(reversed(below))}.v1",
        "fields": [{"name": "number", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": None}],
    }


def publish(bus: Bus, text: str, numbers: range, **settings: Any) -> None:
    """As the Confluent documentation shows it; record names are subjects."""
    conf = {"subject.name.strategy": record_subject_name_strategy, **settings}
    producer = Producer({"bootstrap.servers": bus.kafka, "acks": "all"})
    failed: list[Any] = []
    with SchemaRegistryClient({"url": bus.registry}) as registry:
        serialize = AvroSerializer(registry, text, conf=conf)
        for number in numbers:
            value = serialize({"number": number, "note": None}, SerializationContext(TOPIC, MessageField.VALUE))
            key = f"customer-{number % 3}"
            producer.produce(TOPIC, value=value, key=key, on_delivery=lambda error, _: error and failed.append(error))
        producer.flush(30)
    assert not failed


@pytest.mark.parametrize("way", ["auto-registration", "use.latest.version"])
async def test_a_stock_avro_producer(bus: Bus, way: str) -> None:
    domain = f"stock{uuid.uuid4().hex[:8]}.test"
    uri = f"{domain}/_/1/order"
    async with bus.client() as client, Receiver() as receiver:
        await client.must("POST", f"/api/schemas/{uri}", {"schema": schema(domain)})
        _, secret = await client.subscribe(uri, f"{receiver.url}/orders")
        settings = {} if way == "auto-registration" else {"auto.register.schemas": False, "use.latest.version": True}
        await asyncio.to_thread(publish, bus, json.dumps(schema(domain)), range(20), **settings)
        await receiver.has("orders", 20, seconds=60)
        events = await client.settled(uri, seconds=30)
    assert sorted(json.loads(one.body)["number"] for one in receiver.arrived) == list(range(20))
    for one in receiver.arrived:
        official(secret, one)
        assert one.headers["content-type"] == "application/json"
    assert {one["source"] for one in events} == {"kafka"}
    assert {one["key"] for one in events} == {"customer-0", "customer-1", "customer-2"}


async def test_a_type_that_nobody_has_adopted_is_rejected_until_somebody_does(bus: Bus) -> None:
    domain = f"stock{uuid.uuid4().hex[:8]}.test"
    uri = f"{domain}/_/1/order"
    async with bus.client() as client, Receiver() as receiver:
        await client.subscribe(uri, f"{receiver.url}/orders")
        await asyncio.to_thread(publish, bus, json.dumps(schema(domain)), range(1))
        rejected = await rejected_with(client, "unknown event type")
        assert rejected["schema"] is None or rejected["uri"] is None
        await client.must("POST", f"/api/schemas/{uri}", {"schema": schema(domain)})
        await asyncio.sleep(5.5)  # an id whose subject has no URI is asked for again after five seconds
        await asyncio.to_thread(publish, bus, json.dumps(schema(domain)), range(1, 3))
        await receiver.has("orders", 2, seconds=60)


async def rejected_with(client: Any, reason: str) -> dict[str, Any]:
    for _ in range(200):
        for event in (await client.must("GET", "/api/events?state=rejected&limit=20"))["items"]:
            if any(reason in error["reason"] for error in event["errors"]):
                return event
        await asyncio.sleep(0.1)
    raise AssertionError(f"no event was rejected for {reason!r}")


async def test_the_cloudevents_sdk_over_http(bus: Bus) -> None:
    domain = f"cloud{uuid.uuid4().hex[:8]}.test"
    uri = f"{domain}/shop/1/sold"
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas(domain)
        await client.subscribe(uri, f"{receiver.url}/sold")
        event = CloudEvent(
            {
                "type": uri,
                "source": "/till/3",
                "id": domain,
                "specversion": "1.0",
                "datacontenttype": "application/json",
            },
            {"cents": 4200},
        )
        for write in (to_binary, to_structured):
            message = write(event, JSONFormat())
            async with client.session.post(f"{bus.gateway}/events", data=message.body, headers=message.headers) as sent:
                assert sent.status == 202, await sent.text()
        await receiver.has("sold", 1, seconds=30)
        (stored,) = await client.settled(uri, seconds=30)
    assert stored["duplicates"] == 1, "the same source and id is the same event"
    (arrived,) = receiver.arrived
    assert json.loads(arrived.body) == {"cents": 4200}
    assert arrived.headers["ce-id"] == domain
    assert arrived.headers["ce-source"] == "/till/3"
    assert arrived.headers["ce-type"] == uri


async def test_a_transactional_producer(bus: Bus) -> None:
    """What it aborts is never seen, and the markers that it leaves at the end of the log hold up nothing."""
    domain = f"tx{uuid.uuid4().hex[:8]}.test"
    uri = f"{domain}/_/1/note"
    headers = [("ce_type", uri.encode()), ("content-type", b"application/json")]
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas(domain)
        await client.subscribe(uri, f"{receiver.url}/notes")
        async with AIOKafkaProducer(bootstrap_servers=bus.kafka, transactional_id=domain) as producer:
            for number in range(12):
                await producer.begin_transaction()
                aborted = number % 3 == 2
                value = json.dumps({"number": number, "aborted": aborted}).encode()
                await producer.send_and_wait(TOPIC, value, partition=number, headers=headers)
                await (producer.abort_transaction() if aborted else producer.commit_transaction())
        await receiver.has("notes", 8, seconds=30)
        for _ in range(100):
            stats = await client.must("GET", "/api/stats")
            if not any(one["records"] for one in stats["lag"]):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(f"the fold stays behind: {stats['lag']}")
        assert len(await client.every(f"/api/events?uri={uri}")) == 8
    assert not any(json.loads(one.body)["aborted"] for one in receiver.arrived)


async def test_certes_send(bus: Bus) -> None:
    domain = f"send{uuid.uuid4().hex[:8]}.test"
    uri = f"{domain}/_/1/note"
    env = {**os.environ, "CERTES_URL": bus.gateway, "CERTES_API_KEY": bus.api_key}
    async with bus.client() as client, Receiver() as receiver:
        await client.optional_schemas(domain)
        await client.subscribe(uri, f"{receiver.url}/notes")
        command = [sys.executable, "-m", "certes", "send", uri, "-"]
        done = await asyncio.to_thread(
            subprocess.run, command, input=b'{"text": "hello"}', env=env, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        await receiver.has("notes", 1, seconds=30)
    (arrived,) = receiver.arrived
    assert arrived.id in done.stdout.decode()
