"""The gateway on a real Kafka and a real registry: what it answers with 202 is on the log, as the broker reads it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestServer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from certes import records
from certes.access import cluster_token
from certes.config import ConfigLog, Member, encode
from certes.config_writer import ConfigProducer
from certes.errors import Fatal, TooLarge, Unavailable
from certes.gateway.service import Gateway
from certes.log import EventLog
from certes.registry.cache import Registry
from certes.registry.client import RegistryClient
from certes.settings import Admin, Cluster, Log, Settings
from certes.settings import Gateway as GatewaySettings
from certes.topics import check_topics, ensure_topics
from certes.uri import EventUri

pytestmark = pytest.mark.kafka

CLUSTER_KEY = b"k" * 32
HEADERS = {"authorization": "Bearer key_admin", "content-type": "application/json"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_settings(kafka: str, registry: str = "http://127.0.0.1:9", **gateway: Any) -> Settings:
    name = uuid.uuid4().hex[:8]
    return Settings(
        kafka=kafka,
        registry=registry,
        log=Log(topic=f"gw.{name}.events", config_topic=f"gw.{name}.config", app=f"gw{name}", partitions=3),
        cluster=Cluster.model_validate({"key": base64.b64encode(CLUSTER_KEY).decode()}),
        admin=Admin.model_validate({"key": "key_admin"}),
        gateway=GatewaySettings.model_validate({"id": f"gateway-{name}", "port": 0, **gateway}),
    )


async def read_all(settings: Settings) -> list[records.Arrival]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.log.topic, number) for number in range(settings.log.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += [records.read(record, cluster_key=CLUSTER_KEY) for record in batch]
    finally:
        await consumer.stop()
    return [one for one in found if isinstance(one, records.Arrival)]


@pytest.fixture
async def config_of(kafka: str) -> AsyncIterator[Callable[[Settings], Any]]:
    logs: list[ConfigLog] = []

    async def start(settings: Settings) -> ConfigLog:
        log = ConfigLog(kafka=kafka, topic=settings.log.config_topic, on_fatal=pytest.fail)
        logs.append(log)
        await log.start()
        return log

    yield start
    for log in logs:
        await log.stop()


@pytest.fixture
async def gateway(kafka: str, registry_url: str) -> AsyncIterator[tuple[Gateway, Settings]]:
    settings = make_settings(kafka, registry_url)
    made = Gateway(settings, on_fatal=pytest.fail)
    await made.listen()
    await made.start()
    yield made, settings
    await made.stop()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def post(http: ClientSession, url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with http.post(url, data=body, headers={**HEADERS, **(headers or {})}) as response:
        return response.status, orjson.loads(await response.read())


async def test_published_events_are_on_the_log_under_the_answered_ids(
    gateway: tuple[Gateway, Settings], registry_url: str, http: ClientSession
) -> None:
    running, settings = gateway
    uri = f"gw{uuid.uuid4().hex[:8]}.dev/shop/1/payment"
    assert (await post(http, f"{running.url}/events/{uri}", b"{}"))[0] == 404
    registry = Registry(RegistryClient(registry_url))
    fields = [{"name": "cents", "type": "long"}]
    pushed = await registry.push(EventUri.parse(uri), {"type": "record", "name": "x", "fields": fields})
    await registry.close()
    await asyncio.sleep(5.1)  # that there is none counts for five seconds
    answers = [await post(http, f"{running.url}/events/{uri}", b'{"cents": %d}' % n) for n in range(20)]
    answers.append(await post(http, f"{running.url}/events/{uri}", b'{"cents": 0}', {"ce-id": "same"}))
    answers.append(await post(http, f"{running.url}/events/{uri}", b'{"cents": 0}', {"ce-id": "same"}))
    assert {status for status, _ in answers} == {202}
    assert (await post(http, f"{running.url}/events/{uri}", b'{"cents": "0"}'))[0] == 422
    arrivals = await read_all(settings)
    assert sorted(one.id for one in arrivals) == sorted(answer["id"] for _, answer in answers)
    assert {(one.uri, one.source, one.schema_id, one.forged) for one in arrivals} == {(uri, "admin", pushed.id, None)}


async def test_the_gateway_is_a_member_and_says_how_far_it_has_read(
    gateway: tuple[Gateway, Settings], config_of: Callable[[Settings], Any], http: ClientSession
) -> None:
    running, settings = gateway
    log = await config_of(settings)
    member = log.config.members[settings.gateway.id]
    assert member.role == "gateway"
    token = {"authorization": f"Bearer {cluster_token(CLUSTER_KEY)}"}
    question = f"{member.url}/internal/config?offset={log.config.offset}&seconds=2"
    async with http.get(question, headers=token) as response:
        assert (await response.json())["reached"] is True
    async with http.get(question) as response:
        assert response.status == 401
    producer = ConfigProducer(kafka=settings.kafka, topic=settings.log.config_topic)
    await producer.start()
    buried = await producer.append(f"member/{settings.gateway.id}", None)
    await producer.stop()
    assert await log.reached(buried + 1, seconds=5), "taken for dead, it comes back"
    assert settings.gateway.id in log.config.members
    await running.stop()
    assert await log.reached(buried + 2, seconds=5)
    assert settings.gateway.id not in log.config.members


async def test_a_fold_that_is_behind_closes_the_gateway(gateway: tuple[Gateway, Settings], http: ClientSession) -> None:
    running, settings = gateway
    behind = 0.0

    async def lag(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == f"Bearer {cluster_token(CLUSTER_KEY)}"
        return web.json_response({"lag_seconds": behind})

    app = web.Application()
    app.router.add_get("/internal/lag", lag)
    source = {"scheme": "none", "uri": "a.dev/_/1/x"}
    producer = ConfigProducer(kafka=settings.kafka, topic=settings.log.config_topic)
    await producer.start()
    async with TestServer(app) as worker:
        url = str(worker.make_url("/")).rstrip("/")
        await producer.append("source/open", encode(source))
        await producer.append("member/w", encode(Member(id="w", role="worker", url=url).model_dump(mode="json")))
        await producer.stop()
        await _until(lambda: _status(http, "GET", f"{running.url}/readyz"), 200)
        await _until(lambda: _status(http, "POST", f"{running.url}/events/from/open"), 202)
        behind = 3.0
        await _until(lambda: _status(http, "POST", f"{running.url}/events/from/open"), 503)
        behind = 0.1
        await _until(lambda: _status(http, "POST", f"{running.url}/events/from/open"), 202)
    await _until(lambda: _status(http, "GET", f"{running.url}/readyz"), 503)
    assert await _status(http, "POST", f"{running.url}/events/from/open") == 202, "the log takes it without a worker"


async def _status(http: ClientSession, method: str, url: str) -> int:
    async with http.request(method, url, data=b"{}", headers=HEADERS) as response:
        return response.status


async def _until(ask: Callable[[], Any], wanted: int) -> None:
    async with asyncio.timeout(15):
        while await ask() != wanted:
            await asyncio.sleep(0.1)


# -- the command ----------------------------------------------------------------------------------------------------


async def start_command(settings: Settings, **changes: str) -> asyncio.subprocess.Process:
    environment = {
        **os.environ, "CERTES_KAFKA": settings.kafka, "CERTES_REGISTRY": settings.registry,
        "CERTES_LOG__TOPIC": settings.log.topic, "CERTES_LOG__CONFIG_TOPIC": settings.log.config_topic,
        "CERTES_LOG__PARTITIONS": "3", "CERTES_ADMIN__KEY": "key_admin",
        "CERTES_CLUSTER__KEY": base64.b64encode(CLUSTER_KEY).decode(), "CERTES_GATEWAY__ID": settings.gateway.id,
        "CERTES_GATEWAY__PORT": str(settings.gateway.port), **changes,
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "certes", "gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )


async def _refused_or(ask: Any) -> int:
    with suppress(ClientError):
        return int(await ask)
    return 0


async def test_sigterm_loses_nothing_that_was_acknowledged(
    kafka: str, config_of: Callable[[Settings], Any], http: ClientSession
) -> None:
    settings = make_settings(kafka, port=free_port())
    url = f"http://127.0.0.1:{settings.gateway.port}"
    process = await start_command(settings)
    await _until(lambda: _refused_or(_status(http, "POST", f"{url}/events/none")), 400)
    log = await config_of(settings)
    producer = ConfigProducer(kafka=kafka, topic=settings.log.config_topic)
    await producer.start()
    await producer.append("source/open", encode({"scheme": "none", "uri": "a.dev/_/1/x"}))
    await producer.stop()
    await _until(lambda: _status(http, "POST", f"{url}/events/from/open"), 202)
    acknowledged: set[str] = set()

    async def publish() -> None:
        with suppress(ClientError):
            while True:
                status, answer = await post(http, f"{url}/events/from/open", b"{}")
                if status != 202:
                    return
                acknowledged.add(answer["id"])

    publishing = [asyncio.create_task(publish()) for _ in range(20)]
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    await asyncio.gather(*publishing)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors
    assert len(acknowledged) > 50
    assert acknowledged <= {one.id for one in await read_all(settings)}
    await asyncio.sleep(0.5)
    assert settings.gateway.id not in log.config.members


async def test_without_kafka_it_waits_and_says_so(http: ClientSession) -> None:
    settings = make_settings(f"127.0.0.1:{free_port()}", port=free_port())
    url = f"http://127.0.0.1:{settings.gateway.port}"
    process = await start_command(settings)
    await _until(lambda: _refused_or(_status(http, "GET", f"{url}/healthz")), 200)
    async with http.get(f"{url}/readyz") as response:
        assert response.status == 503
        assert set((await response.json())["components_unavailable"]) == {"kafka", "config", "workers", "registry"}
    assert await _status(http, "POST", f"{url}/events/a.dev/_/1/x") == 503
    await asyncio.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()
    assert len(errors.splitlines()) < 10, "it does not fill the disk while it waits"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"CERTES_CLUSTER__KEY": ""}, 1, b"openssl rand"),
        ({"CERTES_CLUSTER__KEY": "short"}, 2, b"CERTES_CLUSTER__KEY"),
        ({"CERTES_LOG__PARTITIONS": "4"}, 1, b"CERTES_LOG__PARTITIONS=3"),
        ({"CERTES_GATEWAY__PORT": "taken"}, 1, b"cannot listen"),
    ],
)
async def test_clean_errors(kafka: str, changes: dict[str, str], code: int, words: bytes) -> None:
    settings = make_settings(kafka)
    await ensure_topics(kafka, settings.log)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        filled = {name: to.replace("taken", str(taken.getsockname()[1])) for name, to in changes.items()}
        process = await start_command(settings, **filled)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code, errors.decode()
    assert words in errors
    assert b"Traceback" not in errors


# -- the topics, and the log ----------------------------------------------------------------------------------------


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    entries = answers[0].to_object()["resources"][0]["config_entries"]
    return {entry["config_names"]: entry["config_value"] for entry in entries}


async def test_topics_are_made_checked_and_corrected(kafka: str, admin: AIOKafkaAdminClient) -> None:
    log = make_settings(kafka).log
    with pytest.raises(Fatal, match="does not exist"):
        await check_topics(kafka, log)
    await asyncio.gather(ensure_topics(kafka, log), ensure_topics(kafka, log))
    await check_topics(kafka, log)
    wrong = {"retention.ms": "1000", "message.timestamp.type": "CreateTime", "flush.messages": "77"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, log.topic, wrong)])
    await ensure_topics(kafka, log)
    found = await settings_of(admin, log.topic)
    assert found["retention.ms"] == str(int(log.retention_seconds * 1000))
    assert (found["message.timestamp.type"], found["retention.bytes"]) == ("LogAppendTime", "-1")
    assert (found["cleanup.policy"], found["max.message.bytes"]) == ("delete", str(2 << 20))
    assert found["flush.messages"] == "77", "what others have set stays"
    assert (await settings_of(admin, log.config_topic))["cleanup.policy"] == "compact"


async def test_another_number_of_partitions_is_fatal(kafka: str, admin: AIOKafkaAdminClient) -> None:
    log = make_settings(kafka).log
    await admin.create_topics([NewTopic(log.topic, 2, 1)])
    await asyncio.sleep(0.5)
    with pytest.raises(Fatal, match="CERTES_LOG__PARTITIONS=2"):
        await ensure_topics(kafka, log)


async def test_no_kafka_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await ensure_topics(f"127.0.0.1:{free_port()}", Log())


async def test_appending_goes_on_after_a_topic_was_made_anew(kafka: str, admin: AIOKafkaAdminClient) -> None:
    log = make_settings(kafka).log
    await ensure_topics(kafka, log)
    events = EventLog(kafka=kafka, topic=log.topic, ack_seconds=3)
    await events.start()
    assert await events.answers()
    for offset in range(3):
        assert await events.append(value=b"v", key=b"k", partition=1) == (1, offset)
    await admin.delete_topics([log.topic])
    await asyncio.sleep(1)
    await ensure_topics(kafka, log)
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                partition, _ = await events.append(value=b"v", key=b"k", partition=1)
                break
            await asyncio.sleep(0.2)
    assert partition == 1
    assert (await events.append(value=b"v" * 2_000_000, key=b"k", partition=1))[0] == 1
    with pytest.raises(TooLarge):
        await events.append(value=b"v" * (2 << 20), key=b"k", partition=1)
    await events.stop()
