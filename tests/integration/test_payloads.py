"""Reading payloads back from a real Kafka."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from certes.errors import Unavailable
from certes.payloads import LogReader

pytestmark = pytest.mark.kafka
COUNT = 1_000


@pytest.fixture
async def admin(kafka):
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def topic(admin):
    name = f"payloads-{uuid.uuid4().hex[:8]}"
    await admin.create_topics([NewTopic(name, 2, 1)])
    yield name
    await admin.delete_topics([name])


@pytest.fixture
async def filled(kafka, topic):
    """A thousand records in partition 0, one in partition 1."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        sent = [await producer.send(topic, b"value %d" % number, partition=0) for number in range(COUNT)]
        await asyncio.gather(*sent)
        await producer.send_and_wait(topic, None, key=b"k", partition=1)
    return topic


@pytest.fixture
async def reader(kafka, filled):
    made = LogReader(kafka=kafka, topic=filled)
    await made.start()
    yield made
    await made.stop()


async def read(reader, offsets, partition=0):
    return await asyncio.gather(*[reader.value(partition, offset) for offset in offsets])


async def test_what_is_asked_for_together_comes_whatever_its_order(reader):
    offsets = [999, 3, 500, 3, 0, 998]
    assert await read(reader, offsets) == [b"value %d" % offset for offset in offsets]
    assert await reader.value(1, 0) == b""
    assert await reader.value(0, 7) == b"value 7"


async def test_all_of_it_in_order(reader):
    assert await read(reader, range(COUNT)) == [b"value %d" % offset for offset in range(COUNT)]


async def test_what_is_not_there_is_none_at_once(reader, admin, filled):
    async with asyncio.timeout(5):
        assert await read(reader, [COUNT, COUNT + 5_000, 2]) == [None, None, b"value 2"]
        place = TopicPartition(filled, 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=600)})
        assert await read(reader, [0, 599, 600]) == [None, None, b"value 600"]


async def test_markers_of_transactions_are_no_records(kafka, topic):
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
    async with producer:
        for number in range(2):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"in transaction %d" % number, partition=0)
    reader = LogReader(kafka=kafka, topic=topic)
    await reader.start()
    try:
        async with asyncio.timeout(10):
            assert await read(reader, range(4)) == [b"in transaction 0", None, b"in transaction 1", None]
    finally:
        await reader.stop()


async def test_a_topic_that_is_not_there_is_unavailable(kafka):
    reader = LogReader(kafka=kafka, topic=f"missing-{uuid.uuid4().hex[:8]}", seconds=0.5)
    await reader.start()
    try:
        with pytest.raises(Unavailable, match="partition 3"):
            await reader.value(3, 0)
    finally:
        await reader.stop()
