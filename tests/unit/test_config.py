from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from certes import config as module
from certes.backoff import Policy
from certes.config import Config, ConfigLog, Entry, encode
from certes.errors import Fatal, Unavailable

SUBSCRIPTION = {
    "id": "sub_1",
    "created_at": "2026-11-24T16:03:00.000Z",
    "updated_at": "2026-11-24T16:03:00.000Z",
    "secrets": [{"secret": "whsec_topsecret", "created_at": "2026-11-24T16:03:00.000Z"}],
    "spec": {"uri": "a.dev/_/1/x", "destination": {"url": "http://127.0.0.1/"}},
}
SOURCE = {"scheme": "github", "uri": "a.dev/github/1/x", "secrets": ["topsecret"]}


def member(name: str, *partitions: int, role: str = "worker") -> dict[str, Any]:
    return {"id": name, "role": role, "url": f"http://{name}", "partitions": partitions}


def config(*records: tuple[str, Any]) -> Config:
    """What records add up to; None deletes."""
    made = Config()
    for offset, (key, value) in enumerate(records):
        made.apply(key, None if value is None else encode(value), offset)
    return made


def test_nothing_is_configured_at_first() -> None:
    empty = Config()
    assert (empty.offset, empty.workers(), empty.owner(0), empty.entry("source", "x")) == (-1, [], None, None)


def test_entries_are_parsed_once_when_read() -> None:
    read = config(
        ("subscription/sub_1", SUBSCRIPTION),
        ("source/github", SOURCE),
        ("priority/event/a.dev/_/1/*", {"priority": 9}),
        ("backoff/global", {"factor": 2}),
        ("member/w1", member("w1", 0, 1)),
        ("key/key_1", {"hash": "x"}),
        ("audit/1", {"who": "admin"}),
    )
    assert read.subscriptions["sub_1"].spec.uri == "a.dev/_/1/x"
    assert read.sources["github"].scheme == "github"
    assert read.priorities == {"event/a.dev/_/1/*": 9}
    assert read.backoffs == {"global": Policy(factor=2)}
    assert [one.id for one in read.workers()] == ["w1"]
    assert read.entry("audit", "1") == Entry("audit", "1", {"who": "admin"}, 6)
    assert read.offset == 6


def test_a_later_entry_replaces_an_earlier_one_and_a_tombstone_deletes_it() -> None:
    read = config(("priority/global", {"priority": 1}), ("priority/global", {"priority": 2}))
    assert read.priorities == {"global": 2}
    read.apply("priority/global", None, 7)
    read.apply("priority/never", None, 8)
    read.apply("audit/never", None, 9)
    assert (read.priorities, read.entry("priority", "global"), read.offset) == ({}, None, 9)


def test_the_router_follows_when_it_is_rebuilt() -> None:
    read = config(("subscription/sub_1", SUBSCRIPTION), ("priority/global", {"priority": 7}))
    assert read.router.matching("a.dev/_/1/x") == []
    read.rebuild_router()
    (route,) = read.router.routes(uri="a.dev/_/1/x", source="kafka", variables=dict)
    assert (route.subscription, route.priority) == ("sub_1", 7)


def test_the_owner_of_a_partition_is_who_said_so_last() -> None:
    read = config(
        ("member/w1", member("w1", 0, 1)), ("member/w2", member("w2", 1)), ("member/g", member("g", role="gateway"))
    )
    owners = [read.owner(partition) for partition in range(3)]
    assert [one and one.id for one in owners] == ["w1", "w2", None]
    read.apply("member/w1", encode(member("w1", 1)), 3)
    owner = read.owner(1)
    assert (owner and owner.id, read.owner(0)) == ("w1", None)
    read.apply("member/w1", None, 4)
    owner = read.owner(1)
    assert (owner and owner.id) == "w2"


def test_global_settings_fall_back_to_their_defaults_when_deleted() -> None:
    read = config(("config/global", {"flags": {"fast": True}, "schemas": {"default": "optional"}}))
    assert (read.settings.flags, read.schema_rule("a.dev")) == ({"fast": True}, "optional")
    read.apply("config/global", None, 1)
    assert (read.settings.flags, read.schema_rule("a.dev")) == ({}, "required")


def test_an_etag_changes_with_the_value_alone() -> None:
    one = Entry("source", "x", {"a": 1, "b": 2}, 3)
    assert one.etag == Entry("source", "x", {"b": 2, "a": 1}, 9).etag
    assert one.etag != Entry("source", "x", {"a": 1, "b": 3}, 3).etag
    assert one.etag[0] == one.etag[-1] == '"'


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "required"),
        ({"flags": {}}, "required"),
        ({"schemas": {"default": "optional"}}, "optional"),
        ({"schemas": {"default": "optional", "domains": {"a.dev": "required"}}}, "required"),
        ({"schemas": {"domains": {"a.dev": "optional"}}}, "optional"),
        ({"schemas": {"domains": {"b.dev": "optional"}}}, "required"),
        ({"schemas": {}}, "required"),
    ],
)
def test_own_events_need_a_schema_unless_told_otherwise(value: Any, rule: str) -> None:
    assert config(("config/global", value)).schema_rule("a.dev") == rule


@pytest.mark.parametrize(
    ("key", "raw", "reason"),
    [
        ("user/u1", encode({}), "of a kind this Certes does not know: upgrade it"),
        ("", encode({}), "of a kind this Certes does not know"),
        ("key/k", b"", "'key/k' is unreadable"),
        ("key/k", b"\xff\x00", "'key/k' is unreadable"),
        ("key/k", b"[]", "'key/k' is unreadable"),
        ("key/k", b"7", "'key/k' is unreadable"),
        ("key/k", b'{"v": 1}', "'key/k' is unreadable"),
        ("key/k", b'{"v": "1", "value": {}}', "'key/k' is unreadable"),
        ("key/k", b'{"v": null, "value": {}}', "'key/k' is unreadable"),
        ("key/k", b'{"v": 2, "value": {}}', "has format 2, this Certes reads up to 1"),
        ("key/k", b'{"v": 1, "value": null}', "'key/k' holds no object"),
        ("config/global", encode({"schemas": {"default": "maybe"}}), "'config/global' is unreadable, schemas.default"),
        ("config/global", encode({"newer": 1}), "'config/global' is unreadable, newer: Extra inputs"),
        ("priority/global", encode({"priority": 10}), "'priority/global' is unreadable, priority: .*less than"),
        ("priority/global", encode({}), "'priority/global' is unreadable, priority: Field required"),
        ("backoff/global", encode({"strategy": "quadratic"}), "'backoff/global' is unreadable, strategy"),
        ("subscription/s", encode({**SUBSCRIPTION, "spec": {}}), "'subscription/s' is unreadable, spec.uri"),
        ("source/s", encode({**SOURCE, "newer": 1}), "'source/s' is unreadable, newer: Extra inputs"),
        ("source/s", encode({**SOURCE, "secrets": "topsecret"}), "'source/s' is unreadable, secrets"),
        ("member/w", encode({"id": "w", "role": "boss", "url": ""}), "'member/w' is unreadable, role"),
    ],
)
def test_what_this_version_cannot_read_is_fatal_and_its_secrets_stay_secret(key: str, raw: bytes, reason: str) -> None:
    with pytest.raises(Fatal, match=reason) as fatal:
        Config().apply(key, raw, 0)
    assert "topsecret" not in str(fatal.value)


TEXTS = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
VALUES = st.dictionaries(st.sampled_from(["priority", "id", "role", "url", "uri", "scheme", "spec", "factor"]), JSON)


@given(
    st.sampled_from(["subscription", "source", "priority", "backoff", "member", "audit", "config", "other"]),
    st.binary() | (VALUES | JSON).map(encode) | JSON.map(orjson.dumps),
)
def test_any_record_is_read_or_fatal(kind: str, raw: bytes) -> None:
    read = Config()
    try:
        read.apply(f"{kind}/name", raw, 5)
    except Fatal:
        assert read.offset == -1
    else:
        assert read.offset == 5


class Consumer:
    """A Kafka consumer whose log is a list; errors are raised as they are queued."""

    def __init__(self, **_options: Any) -> None:
        self.place = 0
        self.stopped = False

    log: list[tuple[str, bytes | None]]
    errors: list[Exception]
    refuses: Exception | None
    made: list[Consumer]

    async def start(self) -> None:
        self.made.append(self)
        if self.refuses is not None:
            raise self.refuses

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, _partitions: Any) -> None: ...

    async def seek_to_beginning(self, _partition: Any) -> None: ...

    async def end_offsets(self, partitions: Any) -> dict[Any, int]:
        return {partitions[0]: len(self.log)}

    async def position(self, _partition: Any) -> int:
        return self.place

    async def getmany(self, partition: Any, *, timeout_ms: int) -> dict[Any, list[Any]]:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop()
        begin, self.place = self.place, min(self.place + 2, len(self.log))
        found = self.log[begin : self.place]
        records = [
            SimpleNamespace(key=key.encode(), value=value, offset=begin + index)
            for index, (key, value) in enumerate(found)
        ]
        if not records:
            await asyncio.sleep(0.01)
        return {partition: records} if records else {}


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> type[Consumer]:
    fresh = {"log": [], "errors": [], "refuses": None, "made": []}
    consumer = type("Fresh", (Consumer,), fresh)
    monkeypatch.setattr(module, "AIOKafkaConsumer", consumer)
    return consumer


def reader(on_fatal: Callable[[BaseException], None] = lambda _error: None) -> ConfigLog:
    return ConfigLog(kafka="kafka:9092", topic="certes.config", on_fatal=on_fatal)


async def test_the_log_is_read_to_its_end_before_start_returns(kafka: type[Consumer]) -> None:
    kafka.log = [(f"audit/{number}", encode({})) for number in range(5)]
    kafka.log += [("subscription/sub_1", encode(SUBSCRIPTION))]
    log = reader()
    heard: list[frozenset[str]] = []
    log.on_change.append(heard.append)
    await log.start()
    assert log.config.offset == 5
    assert log.config.router.matching("a.dev/_/1/x")
    assert heard == [frozenset({"audit/0", "audit/1"}), frozenset({"audit/2", "audit/3"}), frozenset({"audit/4", "subscription/sub_1"})]  # fmt: skip
    await log.stop()
    assert kafka.made[0].stopped


async def test_it_is_followed_and_waited_for(kafka: type[Consumer]) -> None:
    log = reader()
    await log.start()
    assert not await log.reached(0, seconds=0.02)
    waiting = asyncio.create_task(log.reached(0, seconds=5))
    kafka.log.append(("priority/global", encode({"priority": 3})))
    assert await waiting
    assert log.config.priorities == {"global": 3}
    assert await log.reached(0, seconds=0)
    await log.stop()


async def test_an_error_of_kafka_is_tried_again(kafka: type[Consumer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    fatal: list[BaseException] = []
    log = reader(fatal.append)
    await log.start()
    kafka.errors += [KafkaTimeoutError(), KafkaConnectionError()]
    kafka.log.append(("priority/global", encode({"priority": 3})))
    assert await log.reached(0, seconds=5)
    assert fatal == []
    await log.stop()


async def test_started_again_it_forgets_what_was_deleted_meanwhile(kafka: type[Consumer]) -> None:
    kafka.log = [("priority/global", encode({"priority": 3})), ("audit/1", encode({}))]
    log = reader()
    await log.start()
    await log.stop()
    await log.stop()
    kafka.log = [("audit/2", encode({}))]
    await log.start()
    assert (log.config.priorities, list(log.config.entries["audit"])) == ({}, ["2"])
    await log.stop()


async def test_kafka_away_is_unavailable_and_leaves_nothing_open(kafka: type[Consumer]) -> None:
    kafka.refuses = KafkaConnectionError("no route")
    with pytest.raises(Unavailable, match=r"config log at Kafka kafka:9092 cannot be read: .*no route"):
        await reader().start()
    assert kafka.made[0].stopped


async def test_an_unreadable_entry_at_the_start_is_fatal_and_leaves_nothing_open(kafka: type[Consumer]) -> None:
    kafka.log = [("key/k", b"{")]
    with pytest.raises(Fatal, match="'key/k' is unreadable"):
        await reader().start()
    assert kafka.made[0].stopped


async def test_an_unreadable_entry_later_is_told_as_fatal(kafka: type[Consumer]) -> None:
    fatal: list[BaseException] = []
    log = reader(fatal.append)
    await log.start()
    kafka.log.append(("key/k", b"{"))
    await eventually(lambda: fatal)
    assert isinstance(fatal[0], Fatal)
    await log.stop()


async def test_whatever_else_ends_the_following_is_told_too(kafka: type[Consumer]) -> None:
    fatal: list[BaseException] = []

    def broken(_keys: frozenset[str]) -> None:
        raise ZeroDivisionError

    log = reader(fatal.append)
    await log.start()
    log.on_change.append(broken)
    kafka.log.append(("audit/1", encode({})))
    await eventually(lambda: fatal)
    assert isinstance(fatal[0], ZeroDivisionError)
    await log.stop()


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
