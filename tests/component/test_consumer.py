"""Letters, consumer, outbox and mailbox together: from what is due to an outcome on the log, by real HTTP."""

from __future__ import annotations

import asyncio
import zlib
from types import SimpleNamespace

import faust
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents import consumer as module
from agents.consumer import Consumer, Letters, consume
from agents.outbox import Outbox
from certes import event
from certes.attempt import Answer
from certes.clock import Clock, FrozenClock, rfc3339
from certes.config import Config
from certes.delivery import Delivery, settle
from certes.errors import Gone, Unavailable
from certes.event import EventRow
from certes.mailbox import Item, Mailbox
from certes.records import AVRO
from certes.registry.framing import frame
from certes.registry.schema import Schema
from certes.sender import Guard, Sender
from certes.signing import new_secret
from certes.subscription import Destination, Secret, StoredSubscription, Subscription
from schemas.own import OwnCodec
from tables.events import items

SOURCE = {"type": "record", "name": "x", "fields": [{"name": "a", "type": "int"}]}
SCHEMA = Schema.parse(orjson.dumps(SOURCE).decode(), schema_id=7, subject="x")
NOW = 1_700_000_000_000


class Receiver:
    """A handler that remembers its calls, and answers `status` when it is `free`."""

    def __init__(self):
        self.calls = []
        self.bodies = {}
        self.status = 204
        self.free = asyncio.Event()
        self.free.set()

    async def answer(self, request):
        identifier = request.headers["webhook-id"]
        self.calls.append(identifier)
        self.bodies[identifier] = (request.headers["content-type"], await request.read())
        await self.free.wait()
        return web.Response(status=self.status)


class World:
    """Everything of a worker that delivers, without Faust's loop and without Kafka: a log that is a list."""

    def __init__(self, url):
        self.clock = FrozenClock(NOW / 1000)
        self.clock.monotonic = Clock().monotonic
        self.url = url
        self.rows = {}
        self.log = []  # partition and outcomes of each record
        self.append_errors = []
        self.values = {}
        self.limits = {}
        self.floor = 0
        self.disabled = []
        self.config = Config()
        self.mailbox = Mailbox(limit=lambda name: self.limits.get(name, 32), changed=lambda: self.letters.deal_soon())  # noqa: PLW0108 - the letters come later
        app = faust.App("test", broker="memory://", web_enabled=False)
        self.letters = Letters(app, mailbox=self.mailbox, clock=self.clock, floor=lambda: self.floor)
        self.sender = Sender(guard=Guard(["127.0.0.0/8"]), clock=self.clock)
        self.outbox = Outbox(self.append)
        self.consumer = Consumer(
            mailbox=self.mailbox,
            outbox=self.outbox,
            payloads=self,
            schemas=SimpleNamespace(by_id=self.by_id),
            sender=self.sender,
            clock=self.clock,
            config=lambda: self.config,
            row_of=lambda partition, identifier: self.rows.get(identifier),
            disable=self.disable,
        )
        self.actors = []
        self.mailbox.open(0)
        self.mailbox.open(1)

    # -- what a worker is asked for

    async def value(self, row):
        value = self.values[row.id]
        if isinstance(value, Exception):
            raise value
        return value

    async def by_id(self, schema_id):
        if schema_id != 7:
            raise Unavailable("the registry does not answer")
        return SCHEMA

    async def disable(self, subscription, reason):
        self.disabled.append((subscription, reason))

    async def append(self, partition, value):
        await asyncio.sleep(0)
        if self.append_errors:
            raise self.append_errors.pop()
        outcomes = OwnCodec().outcomes(value)
        self.log.append((partition, outcomes))
        asyncio.get_running_loop().call_soon(self.fold, outcomes)

    def fold(self, outcomes):
        for outcome in outcomes:
            row = event.load(self.rows[outcome.event])
            moved = tuple(
                settle(one, outcome, record=len(self.log)) if one.subscription == outcome.subscription else one
                for one in row.deliveries
            )
            self.write(event.EventRow(**{**{f: getattr(row, f) for f in row.__struct_fields__}, "deliveries": moved}))

    def write(self, row):
        self.rows[row.id] = event.dump(row)
        for one in row.deliveries:
            if not one.open:
                self.mailbox.remove(row.id, one.subscription)
        for item in items(row):
            self.mailbox.put(item)

    # -- what a test does

    def subscribe(self, name="sub_1", **spec):
        self.config.subscriptions[name] = StoredSubscription(
            id=name,
            created_at=rfc3339(0),
            updated_at=rfc3339(0),
            secrets=(Secret(secret=new_secret(), created_at=rfc3339(0)),),
            spec=Subscription(
                **{"uri": "a.dev/*", "destination": Destination(url=self.url), "timeout_seconds": 5, **spec}
            ),
        )

    def event(self, identifier, *subscriptions, priority=4, value=b"{}", due=NOW, partition=0, **kwargs):
        self.values[identifier] = value
        raw = value if isinstance(value, bytes) else b""
        number = len(self.rows)
        row = EventRow(
            v=1, id=identifier, partition=partition, offset=number, applied=number, received_at=NOW,
            checksum=zlib.crc32(raw), size=len(raw), state="delivering", source="kafka", uri="a.dev/_/1/x",
            deliveries=tuple(
                Delivery(one, "pending", priority, due, due, policy=kwargs.pop("policy", None))
                for one in subscriptions or ["sub_1"]
            ),
            **kwargs,
        )  # fmt: skip
        self.write(row)

    def start(self, count=1):
        self.actors += [asyncio.create_task(consume(self.letters, self.consumer)) for _ in range(count)]

    def delivery(self, identifier, subscription="sub_1"):
        return event.load(self.rows[identifier]).delivery(subscription)

    async def until(self, condition, *, seconds=3.0):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)

    async def states(self, **expected):
        await self.until(lambda: {name: self.delivery(name).state for name in expected} == expected)

    async def stop(self):
        for actor in self.actors:
            actor.cancel()
        await asyncio.gather(*self.actors, return_exceptions=True)
        await self.sender.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.02)


@pytest.fixture
async def receiver():
    return Receiver()


@pytest.fixture
async def world(receiver):
    app = web.Application()
    app.router.add_post("/", receiver.answer)
    async with TestServer(app) as server:
        made = World(str(server.make_url("/")))
        await made.sender.start()
        yield made
        receiver.free.set()
        await made.stop()


# -- from due to delivered


async def test_an_event_is_delivered_and_its_outcome_is_on_the_log(world, receiver):
    world.subscribe()
    world.event("evt_1", value=b'{"a": 1}')
    world.start()
    await world.states(evt_1="delivered")
    assert receiver.bodies == {"evt_1": ("application/json", b'{"a": 1}')}
    ((partition, (outcome,)),) = world.log
    assert (partition, outcome.state, outcome.attempt, outcome.status, outcome.at) == (0, "delivered", 1, 204, NOW)
    assert outcome.trace.startswith("ec.")
    assert (len(world.mailbox), world.mailbox.running) == (0, {})


async def test_the_most_urgent_goes_first(world, receiver):
    world.subscribe()
    for number, priority in enumerate([1, 9, 4, 9, 0]):
        world.event(f"evt_{number}", priority=priority)
    world.start(1)
    await world.until(lambda: len(world.log) >= 1 and len(receiver.calls) == 5)
    assert receiver.calls == ["evt_1", "evt_3", "evt_2", "evt_0", "evt_4"]


async def test_below_the_floor_nothing_starts_until_it_is_gone(world, receiver):
    world.subscribe()
    world.floor = 8
    world.event("evt_low", priority=4)
    world.event("evt_high", priority=8)
    world.start(3)
    await world.states(evt_high="delivered")
    await asyncio.sleep(0.05)
    assert receiver.calls == ["evt_high"]
    world.floor = 0
    await world.states(evt_low="delivered")


async def test_what_is_not_due_waits_for_its_time(world, receiver):
    world.subscribe()
    world.event("evt_1", due=NOW + 30)
    world.start()
    await asyncio.sleep(0.06)
    assert receiver.calls == []
    world.clock.move(0.03)
    await world.states(evt_1="delivered")


async def test_a_failed_attempt_is_made_again_when_it_is_due(world, receiver):
    world.subscribe()
    receiver.status = 500
    world.event("evt_1", policy={"initial_seconds": 0.02, "jitter": 0.0})
    world.start()
    await world.states(evt_1="waiting")
    assert receiver.calls == ["evt_1"]
    receiver.status = 200
    world.clock.move(5)
    await world.states(evt_1="delivered")
    assert world.delivery("evt_1").attempt == 2


async def test_room_is_free_when_the_call_has_ended(world, receiver):
    world.subscribe()
    world.limits["sub_1"] = 2
    receiver.free.clear()
    for number in range(5):
        world.event(f"evt_{number}")
    world.start(5)
    await world.until(lambda: len(receiver.calls) == 2)
    await asyncio.sleep(0.02)
    assert (len(receiver.calls), world.mailbox.running) == (2, {"sub_1": 2})
    receiver.free.set()
    await world.states(**{f"evt_{number}": "delivered" for number in range(5)})
    assert sorted(receiver.calls) == [f"evt_{number}" for number in range(5)]


# -- what a handler gets


async def test_avro_arrives_as_json_or_as_it_is(world, receiver):
    world.subscribe()
    world.subscribe("sub_avro", format="avro")
    value = frame(7, SCHEMA.encode({"a": 1}))
    world.event("evt_1", value=value)
    world.event("evt_2", "sub_avro", value=value)
    world.event("evt_3", value=b"text", content_type="text/plain")
    world.start()
    await world.until(lambda: len(receiver.bodies) == 3)
    assert receiver.bodies == {
        "evt_1": ("application/json", b'{"a":1}'),
        "evt_2": (AVRO, value),
        "evt_3": ("text/plain", b"text"),
    }


# -- what goes wrong


@pytest.mark.parametrize("value", [Unavailable("Kafka does not answer"), frame(9, b"")])
async def test_what_cannot_be_read_now_is_given_back_and_tried_again(world, receiver, value):
    world.subscribe()
    world.event("evt_1", value=value)
    world.start()
    await asyncio.sleep(0.05)
    assert (world.log, world.delivery("evt_1").attempt) == ([], 0)
    world.values["evt_1"] = b"{}"
    await world.states(evt_1="delivered")
    assert receiver.calls == ["evt_1"]


async def test_an_error_of_ours_is_a_failed_attempt(world, receiver, caplog):
    world.subscribe()
    world.event("evt_1", value=ZeroDivisionError())
    world.start()
    await world.states(evt_1="waiting")
    assert world.delivery("evt_1").attempts[0].error == "internal error: ZeroDivisionError"
    assert "evt_1" in caplog.text
    assert receiver.calls == []


async def test_deliveries_of_a_deleted_subscription_are_cancelled(world, receiver):
    world.event("evt_1")
    world.start()
    await world.states(evt_1="cancelled")
    assert world.delivery("evt_1").attempts[0].error == "the subscription was deleted"
    assert receiver.calls == []


async def test_a_payload_that_is_gone_expires_the_delivery(world, receiver):
    world.subscribe()
    world.event("evt_1", value=Gone("its retention has passed"))
    world.start()
    await world.states(evt_1="expired")
    assert receiver.calls == []


async def test_410_disables_the_subscription_and_the_attempt_counts(world, receiver):
    world.subscribe()
    receiver.status = 410
    world.event("evt_1")
    world.start()
    await world.states(evt_1="waiting")
    assert world.disabled == [("sub_1", "its handler answered 410 Gone")]
    assert world.delivery("evt_1").attempts[0].status == 410


async def test_a_subscription_that_cannot_be_disabled_now_does_not_lose_the_attempt(world, receiver, caplog):
    async def down(subscription, reason):
        raise Unavailable("no writer answers")

    world.consumer._disable = down
    world.subscribe()
    receiver.status = 410
    world.event("evt_1")
    world.start()
    await world.states(evt_1="waiting")
    assert receiver.calls == ["evt_1"]
    assert "no writer answers" in caplog.text


async def test_a_call_that_does_not_end_is_cut_off(world, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)

    async def stuck(call):
        await asyncio.Event().wait()

    world.sender.send = stuck
    world.subscribe(timeout_seconds=0.02)
    world.event("evt_1")
    world.start()
    await world.states(evt_1="waiting")
    assert world.delivery("evt_1").attempts[0].error == "the call did not end"


# -- who is called, and how often


def item(identifier="evt_1", **kwargs):
    return Item(**{
        "partition": 0, "offset": 0, "event": identifier, "subscription": "sub_1",
        "priority": 4, "due": NOW, "epoch": 1, "attempt": 0, **kwargs,
    })  # fmt: skip


@pytest.mark.parametrize("change", ["no row", "no delivery", "another try", "cancelled"])
async def test_what_is_not_as_the_mailbox_thought_is_not_called(world, receiver, change):
    world.subscribe()
    world.event("evt_1")
    one = world.mailbox.take(NOW)
    if change == "no row":
        world.rows.clear()
    elif change == "no delivery":
        world.event("evt_1", "sub_2")
    elif change == "another try":
        world.rows["evt_1"] = world.rows["evt_1"].replace(b'"since"', b'"attempt":1,"since"')
    else:
        world.rows["evt_1"] = world.rows["evt_1"].replace(b'"pending"', b'"cancelled"')
    await world.consumer.deliver(one)
    assert (receiver.calls, world.log, world.mailbox.running) == ([], [], {})


async def test_an_actor_that_is_cancelled_gives_back_what_it_was_dealt(world, receiver):
    world.subscribe()
    waiting = asyncio.create_task(world.letters.__anext__())
    await asyncio.sleep(0)
    world.event("evt_1")
    await asyncio.sleep(0)  # it is dealt, and the actor has not run yet
    assert world.mailbox.running == {"sub_1": 1}
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert world.mailbox.running == {}
    world.start()
    await world.states(evt_1="delivered")


async def test_an_actor_that_is_cancelled_while_it_waits_is_passed_over(world):
    world.subscribe()
    waiting = asyncio.create_task(world.letters.__anext__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.start()
    world.event("evt_1")
    await world.states(evt_1="delivered")


async def test_an_actor_that_is_cancelled_in_its_call_gives_the_delivery_back(world, receiver):
    world.subscribe()
    receiver.free.clear()
    world.event("evt_1")
    world.start()
    await world.until(lambda: receiver.calls)
    world.actors[0].cancel()
    receiver.free.set()
    world.start()
    await world.states(evt_1="delivered")
    assert receiver.calls == ["evt_1", "evt_1"]


async def test_an_actor_that_is_cancelled_after_its_call_leaves_the_outcome_to_the_outbox(world, receiver):
    world.subscribe()
    world.event("evt_1")
    world.start()
    await world.until(lambda: world.outbox._batches)
    world.actors[0].cancel()
    world.start()
    await world.states(evt_1="delivered")
    assert receiver.calls == ["evt_1"]


async def test_after_stop_nothing_is_dealt(world, receiver):
    world.subscribe()
    world.letters.stop()
    world.event("evt_1")
    world.start()
    await asyncio.sleep(0.03)
    assert receiver.calls == []


# -- the outbox


async def test_outcomes_of_some_milliseconds_are_one_record_per_partition(world):
    world.subscribe()
    for number in range(20):
        world.event(f"evt_{number}", partition=number % 2)
    one = [await world.consumer._attempt(world.mailbox.take(NOW)) for _ in range(20)]
    partitions = {event.load(row).id: event.load(row).partition for row in world.rows.values()}
    await asyncio.gather(*[world.outbox.post(partitions[outcome.event], outcome) for outcome in one])
    assert sorted(partition for partition, _ in world.log) == [0, 1]
    assert {outcome.event for _, outcomes in world.log for outcome in outcomes} == set(partitions)
    assert not world.outbox.busy


async def test_nothing_is_lost_when_the_log_does_not_take_a_record(world, receiver):
    world.subscribe()
    world.append_errors = [Unavailable("Kafka does not answer")]
    for number in range(5):
        world.event(f"evt_{number}")
    world.start(5)
    await world.states(**{f"evt_{number}": "delivered" for number in range(5)})


async def test_an_actor_ends_with_any_other_error_and_the_next_goes_on(world):
    world.subscribe()
    world.append_errors = [RuntimeError("the producer has ended")]
    world.event("evt_1")
    world.start()
    with pytest.raises(RuntimeError, match="has ended"):
        await world.actors.pop()
    world.start()
    await world.states(evt_1="delivered")


async def test_whoever_posts_hears_of_the_failure_and_a_cancelled_one_harms_nobody(world):
    world.subscribe()
    for number in range(2):
        world.event(f"evt_{number}")
    one, other = [settle_now(f"evt_{number}") for number in range(2)]
    first = asyncio.create_task(world.outbox.post(0, one))
    second = asyncio.create_task(world.outbox.post(0, other))
    await asyncio.sleep(0)
    assert world.outbox.busy
    first.cancel()
    await second
    assert [outcome.event for outcome in world.log[0][1]] == ["evt_0", "evt_1"]
    world.append_errors = [Unavailable("no")]
    with pytest.raises(Unavailable):
        await world.outbox.post(0, one)


async def test_an_outbox_that_is_cancelled_tells_those_who_wait(world):
    started = asyncio.Event()

    async def never(partition, value):
        started.set()
        await asyncio.Event().wait()

    outbox = Outbox(never)
    waiting = asyncio.create_task(outbox.post(0, settle_now("evt_1")))
    await started.wait()
    (sending,) = outbox._sending
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def settle_now(identifier):
    from certes.attempt import settle as outcome_of

    row = SimpleNamespace(id=identifier)
    delivery = Delivery("sub_1", "pending", 4, NOW, NOW)
    return outcome_of(row, delivery, Answer(200), at=NOW, duration_ms=1, roll=0.5, trace="")


async def test_the_letters_are_one_channel_for_all_actors(world):
    assert world.letters.clone(is_iterator=True) is world.letters
    assert world.letters.__aiter__() is world.letters
