"""The two topics: their settings are what retention, ids and order rely on, so every start makes and checks them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from certes.errors import Fatal, Unavailable
from certes.log import MAX_RECORD_BYTES
from certes.settings import Log

logger = logging.getLogger(__name__)

#: How long a topic may take to appear after its creation.
APPEAR_SECONDS = 15.0
_EXISTS = 36
_SET_ON_TOPIC = 1  # Kafka's `config_source` of a value that was set on the topic itself
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it must be. `initial` settings are given at creation and are the operator's from then on."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]
    initial: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as Kafka has it: all settings, and those that were set on the topic itself."""

    partitions: int
    settings: Mapping[str, str]
    own: Mapping[str, str]


def topics_of(log: Log) -> tuple[Topic, Topic]:
    """The event log and the config log as the settings want them."""
    # Acknowledged by all that are in sync must mean more than one where there are three.
    initial = {"min.insync.replicas": "2" if log.replication > 2 else "1"}
    events = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(int(log.retention_seconds * 1000)),
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": str(16 * _MIB),
        "segment.ms": str(3_600_000),
        "min.cleanable.dirty.ratio": "0.1",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    return (
        Topic(log.topic, log.partitions, log.replication, events, initial),
        Topic(log.config_topic, 1, log.replication, config, initial),
    )


async def ensure_topics(kafka: str, log: Log, *, more: Iterable[Topic] = ()) -> None:
    """Make what is missing of the two topics and of `more`, correct what deviates. Raises Unavailable when Kafka does not answer, Fatal for a topic
    that Certes cannot use and cannot correct.
    """
    await _with_admin(kafka, (*topics_of(log), *more), create=True)


async def check_topics(kafka: str, log: Log) -> None:
    """As `ensure_topics`, for a topic that somebody else makes: a missing one is Fatal."""
    await _with_admin(kafka, topics_of(log), create=False)


async def _with_admin(kafka: str, topics: Iterable[Topic], *, create: bool) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await admin.start()
        for topic in topics:
            if create:
                await _create(admin, topic)
            await _check(admin, topic)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"Kafka {kafka} does not answer: {error or type(error).__name__}") from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topic: Topic) -> None:
    if await _partitions(admin, topic.name):
        return
    settings = {**topic.initial, **topic.settings}
    new = NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=settings)
    answer = (await admin.create_topics([new])).to_object()["topic_errors"][0]
    if answer["error_code"] not in (0, _EXISTS):
        raise Fatal(f"Kafka refuses to make the topic {topic.name}: {answer['error_message']}")
    logger.info("made the topic %s, %d partitions", topic.name, topic.partitions, extra={"action": "topic_create"})
    for _ in range(int(APPEAR_SECONDS / 0.1)):
        if await _partitions(admin, topic.name):
            return
        await asyncio.sleep(0.1)
    raise Unavailable(f"the topic {topic.name} has been made, but does not appear")


async def _check(admin: AIOKafkaAdminClient, topic: Topic) -> None:
    wrong = deviations(topic, await _describe(admin, topic.name))
    if not wrong:
        return
    await _correct(admin, topic, wrong)
    left = deviations(topic, await _describe(admin, topic.name))
    if left:
        raise _unusable(topic, left, "Kafka accepts the change, but does not make it")


def deviations(topic: Topic, found: Found) -> dict[str, str]:
    """The settings to correct. Raises Fatal where nothing can be corrected."""
    if found.partitions == 0:
        raise Fatal(f"the topic {topic.name} does not exist: start a gateway or worker that may make topics")
    if found.partitions != topic.partitions:
        raise Fatal(_how_to_move(topic, found.partitions))
    return {name: want for name, want in topic.settings.items() if not _same(found.settings.get(name), want)}


def _same(found: str | None, wanted: str) -> bool:
    """Kafka writes numbers in its own way (`0.1`, `0.10`)."""
    if found == wanted or found is None:
        return found == wanted
    try:
        return float(found) == float(wanted)
    except ValueError:
        return False


async def _correct(admin: AIOKafkaAdminClient, topic: Topic, wrong: Mapping[str, str]) -> None:
    # This call replaces all settings of the topic, so those that others have made are given again.
    own = (await _describe(admin, topic.name)).own
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, {**own, **wrong})
    answer = (await admin.alter_configs([resource]))[0].to_object()["resources"][0]
    if answer["error_code"]:
        raise _unusable(topic, wrong, answer["error_message"])
    logger.warning("corrected %s: %s", topic.name, _listed(wrong), extra={"action": "topic_correct"})


async def _describe(admin: AIOKafkaAdminClient, name: str) -> Found:
    partitions = await _partitions(admin, name)
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    entries: list[dict[str, Any]] = answers[0].to_object()["resources"][0]["config_entries"]
    values = {entry["config_names"]: entry["config_value"] for entry in entries}
    own = {entry["config_names"] for entry in entries if entry.get("config_source") == _SET_ON_TOPIC}
    return Found(partitions, values, {setting: values[setting] for setting in own})


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    """0 where there is no such topic."""
    described = await admin.describe_topics([name])
    return len(described[0]["partitions"])


def _how_to_move(topic: Topic, found: int) -> str:
    if topic.partitions == 1:
        return f"the config log {topic.name} has {found} partitions and needs exactly one: name another topic"
    return (
        f"the topic {topic.name} has {found} partitions, CERTES_LOG__PARTITIONS says {topic.partitions}. Ids and tables "
        f"depend on the number, so it never changes: set CERTES_LOG__PARTITIONS={found}; or, to move, give the new "
        "number with a new CERTES_LOG__TOPIC and CERTES_LOG__APP to new workers and gateways, and let the old ones "
        "deliver what the old topic holds"
    )


def _unusable(topic: Topic, wrong: Mapping[str, str], reason: str) -> Fatal:
    return Fatal(f"the topic {topic.name} must have {_listed(wrong)}, but Kafka does not change it: {reason}")


def _listed(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
