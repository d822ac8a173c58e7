"""Parking: what waits for a schema is looked after, in the order of its key, whatever the registry does."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from certes import parking
from certes.admission import LARGE, Admission
from certes.clock import FrozenClock
from certes.command import Verdict
from certes.config import Config
from certes.errors import Gone, Invalid, NotFound, Unavailable
from certes.event import EventRow, Problem
from certes.fold import admit, command_applied
from certes.parking import Parking, arrival_of
from certes.records import Arrival
from certes.registry.cache import MISSING
from certes.registry.framing import frame
from certes.registry.schema import Schema
from certes.uri import EventUri

URI = "shop.dev/_/1/payment"
SOURCE = {"type": "record", "name": "payment", "namespace": "dev.shop.v1", "fields": [{"name": "a", "type": "int"}]}
SCHEMA = Schema.parse(
    orjson.dumps(SOURCE).decode(), schema_id=7, subject="dev.shop.v1.payment", version=1, uri=EventUri.parse(URI)
)


class Registry:
    """Answers what `schemas` holds, once it is no error; what was answered is known from then on."""

    def __init__(self):
        self.error = None
        self.schemas = {}
        self.known = {}
        self.asked = []

    async def _ask(self, name):
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if name not in self.schemas:
            self.known[name] = MISSING
            raise NotFound(f"there is no {name}")
        self.known[name] = self.schemas[name]
        return self.known[name]

    async def by_id(self, schema_id):
        return await self._ask(schema_id)

    async def latest(self, uri):
        return await self._ask(str(uri))

    def cached(self, schema_id):
        found = self.known.get(schema_id)
        return None if found is MISSING else found

    def cached_latest(self, uri):
        return self.known.get(str(uri))


class Broker:
    """The fold as far as parking sees it: each resume is a record that is folded a little later."""

    def __init__(self, clock):
        self.clock = clock
        self.registry = Registry()
        self.config = Config()
        self.values = {}
        self.rows = {}
        self.commands = []
        self.fails = []
        self.offset = 0
        admission = Admission(schemas=self.registry, config=lambda: self.config)
        self.parking = Parking(
            admission=admission,
            schemas=self.registry,
            value_of=self.value_of,
            resume=self.resume,
            wait_seconds=60.0,
            clock=clock,
        )

    async def value_of(self, row):
        value = self.values[row.id]
        if isinstance(value, Exception):
            raise value
        return value

    async def resume(self, command):
        if self.fails:
            raise self.fails.pop()
        self.commands.append(command)
        asyncio.get_running_loop().call_soon(self.fold, command)

    def fold(self, command):
        self.offset += 1
        self.write(command_applied(self.rows[command.event], command, offset=self.offset))

    def write(self, row):
        self.rows[row.id] = row
        self.parking.see(row)

    def arrive(self, identifier, value=None, *, key=None, partition=0, **kwargs):
        """An event, as the fold takes it."""
        self.offset += 1
        value = frame(7, SCHEMA.encode({"a": 1})) if value is None else value
        self.values[identifier] = value
        one = Arrival(
            id=identifier,
            partition=partition,
            offset=self.offset,
            received_at=round(self.clock.now() * 1000),
            source=kwargs.pop("source", "kafka"),
            value=value,
            checksum=0,
            key=key,
            **kwargs,
        )
        self.write(admit(one, self.parking.judge(one)))
        return self.rows[identifier]

    async def states(self, expected, *, seconds=2.0):
        """Wait until the rows have these states."""
        async with asyncio.timeout(seconds):
            while {name: row.state for name, row in self.rows.items()} != expected:
                await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(parking, "AGAIN_SECONDS", 0.005)


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
async def broker(clock):
    made = Broker(clock)
    yield made
    for partition in (0, 1):
        made.parking.forget(partition)
    await asyncio.sleep(0)


async def test_an_event_goes_on_when_its_schema_has_been_fetched(broker, clock):
    broker.registry.schemas[7] = SCHEMA
    assert broker.arrive("evt_1").state == "accepted"
    assert len(broker.parking) == 1
    await broker.states({"evt_1": "unrouted"})
    assert broker.rows["evt_1"].uri == URI
    assert len(broker.parking) == 0
    assert broker.commands[0].at == clock.now() * 1000
    assert broker.arrive("evt_2").state == "unrouted"


async def test_a_schema_that_is_forgotten_again_is_fetched_again(broker):
    broker.registry.schemas[7] = SCHEMA
    forgotten = [7, 7]
    cached = broker.registry.cached
    broker.registry.cached = lambda schema_id: None if forgotten and forgotten.pop() else cached(schema_id)
    broker.arrive("evt_1")
    await broker.states({"evt_1": "unrouted"})
    assert broker.registry.asked == [7, 7]


async def test_json_waits_for_the_schema_of_its_uri(broker):
    broker.registry.schemas[URI] = SCHEMA
    broker.arrive("evt_1", b'{"a": 1}', uri=URI)
    broker.arrive("evt_2", b'{"a": "x"}', uri=URI)
    await broker.states({"evt_1": "unrouted", "evt_2": "rejected"})


async def test_what_the_gateway_validated_waits_for_that_schema(broker):
    broker.registry.schemas[7] = SCHEMA
    broker.arrive("evt_1", b'{"checked": "by the gateway"}', uri=URI, schema_id=7)
    assert "schema 7" in broker.rows["evt_1"].errors[0].reason
    await broker.states({"evt_1": "unrouted"})


async def test_events_of_one_key_keep_their_order_and_others_do_not_wait(broker):
    broker.registry.error = Unavailable("down")
    broker.arrive("evt_1", key="k")
    broker.registry.known[7] = SCHEMA
    # Their schema is known, yet the first of their key still waits.
    assert "evt_1" in broker.arrive("evt_2", key="k").errors[0].reason
    broker.arrive("evt_3", key="k")
    assert broker.arrive("evt_4", key="other").state == "unrouted"
    assert broker.arrive("evt_5").state == "unrouted"
    assert broker.arrive("evt_6", key="k", partition=1).state == "unrouted"
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states(dict.fromkeys(broker.rows, "unrouted"))
    assert [command.event for command in broker.commands] == ["evt_1", "evt_2", "evt_3"]


async def test_rows_that_are_rebuilt_in_any_order_go_on_in_log_order(broker):
    names = ["evt_1", "evt_2", "evt_3"]
    broker.registry.error = Unavailable("down")
    rows = [broker.arrive(name, key="k") for name in names]
    broker.parking.forget(0)
    assert len(broker.parking) == 0
    for row in (rows[2], rows[0], rows[1], rows[0]):
        broker.parking.see(row)
    assert len(broker.parking) == 3
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states(dict.fromkeys(names, "unrouted"))
    assert [command.event for command in broker.commands] == names


async def test_while_the_registry_is_down_there_is_no_limit(broker, clock):
    broker.registry.error = Unavailable("down")
    broker.arrive("evt_1")
    clock.move(3_600)
    asked = len(broker.registry.asked)
    while len(broker.registry.asked) < asked + 3:
        await asyncio.sleep(0.002)
    assert broker.rows["evt_1"].state == "accepted"
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states({"evt_1": "unrouted"})


@pytest.mark.parametrize(("value", "uri"), [(None, None), (b'{"a": 1}', URI)])
async def test_an_unknown_schema_is_waited_for_so_long_and_no_longer(broker, clock, value, uri):
    broker.arrive("evt_1", value, uri=uri)
    clock.move(59.9)
    asked = len(broker.registry.asked)
    while len(broker.registry.asked) < asked + 3:
        await asyncio.sleep(0.002)
    assert broker.rows["evt_1"].state == "accepted"
    clock.move(0.2)
    await broker.states({"evt_1": "rejected"})
    assert "unknown schema" in broker.rows["evt_1"].errors[0].reason


async def test_where_no_schema_is_needed_its_absence_is_the_answer(broker):
    broker.config.apply("config/global", orjson.dumps({"v": 1, "value": {"schemas": {"default": "optional"}}}), 0)
    broker.arrive("evt_1", b'{"a": 1}', uri=URI)
    await broker.states({"evt_1": "unrouted"})
    assert broker.rows["evt_1"].schema is None


async def test_a_large_body_is_judged_beside_the_fold(broker):
    broker.registry.schemas[URI] = SCHEMA
    large = orjson.dumps({"a": 1, "x": "y" * LARGE})
    assert "large" in broker.arrive("evt_1", large, uri=URI).errors[0].reason
    broker.arrive("evt_2", orjson.dumps({"a": "no", "x": "y" * LARGE}), uri=URI)
    broker.arrive("evt_3", b"x" * (LARGE + 1))
    await broker.states({"evt_1": "unrouted", "evt_2": "rejected", "evt_3": "rejected"})
    assert "no ce_type" in broker.rows["evt_3"].errors[0].reason


@pytest.mark.parametrize(
    ("value", "reason"), [(Gone("its retention has passed"), "retention"), (ZeroDivisionError(), "ZeroDivisionError")]
)
async def test_what_cannot_be_read_or_judged_is_rejected_and_holds_up_nobody(broker, value, reason):
    broker.registry.error = Unavailable("down")
    broker.arrive("evt_1", key="k")
    broker.arrive("evt_2", key="k")
    broker.values["evt_1"] = value
    await broker.states({"evt_1": "rejected", "evt_2": "accepted"})
    assert reason in broker.rows["evt_1"].errors[0].reason
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states({"evt_1": "rejected", "evt_2": "unrouted"})


async def test_a_schema_that_is_no_avro_rejects(broker):
    broker.registry.error = Invalid("the schema is not Avro")
    broker.arrive("evt_1")
    await broker.states({"evt_1": "rejected"})


async def test_a_command_that_does_not_reach_the_log_is_sent_again(broker):
    broker.registry.schemas[7] = SCHEMA
    broker.fails = [Unavailable("Kafka does not answer")] * 2
    broker.arrive("evt_1")
    await broker.states({"evt_1": "unrouted"})
    assert len(broker.commands) == 1


async def test_an_error_of_the_log_is_told(broker, caplog):
    broker.registry.schemas[7] = SCHEMA
    broker.fails = [RuntimeError("the producer has ended")]
    broker.arrive("evt_1")
    async with asyncio.timeout(2):
        while "the producer has ended" not in caplog.text:
            await asyncio.sleep(0.002)


async def test_a_cancelled_event_leaves_its_place_wherever_it_is(broker):
    broker.registry.error = Unavailable("down")
    rows = [broker.arrive(f"evt_{number}", key="k") for number in (1, 2, 3)]

    def cancel(row):
        broker.offset += 1
        broker.write(EventRow(**{**{name: getattr(row, name) for name in row.__struct_fields__}, "state": "cancelled"}))

    cancel(rows[1])
    cancel(rows[0])
    assert len(broker.parking) == 1
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states({"evt_1": "cancelled", "evt_2": "cancelled", "evt_3": "unrouted"})
    assert [command.event for command in broker.commands] == ["evt_3"]


async def test_a_partition_that_leaves_takes_its_events_along(broker):
    broker.registry.error = Unavailable("down")
    broker.arrive("evt_1")
    broker.arrive("evt_2", partition=1)
    broker.parking.forget(0)
    assert len(broker.parking) == 1
    broker.registry.error = None
    broker.registry.schemas[7] = SCHEMA
    await broker.states({"evt_1": "accepted", "evt_2": "unrouted"})
    assert [command.event for command in broker.commands] == ["evt_2"]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("parked")]


async def test_an_arrival_comes_back_from_its_row_as_it_was(broker):
    one = Arrival(
        id="evt_1", partition=3, offset=4, received_at=5, source="github", value=b"{}", checksum=6, uri=URI,
        ce_source="/r", given_id="g", key="k", content_type="application/json", time="now", trace=("gw.1",), schema_id=7,
    )  # fmt: skip
    row = admit(one, Problem("waits"))
    assert arrival_of(row, b"{}") == one
    assert isinstance(broker.parking.judge(one), Verdict | Problem)
