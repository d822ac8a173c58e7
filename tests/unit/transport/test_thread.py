from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from agents.transport.lease import Lease
from agents.transport.thread import ConsumerThread, renew_by_heartbeats
from certes.clock import FrozenClock
from tests.apps.ended import end
from tests.apps.records import record

LOG, LEFT = TP("log", 0), TP("log", 1)


class FakeKafka:
    def __init__(self) -> None:
        self.sought: list[tuple[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {LOG}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.append((tp, offset))


def thread(kafka: FakeKafka, generations: list[int]) -> Any:
    """A thread whose fetch returns in the second of these generations."""
    made: Any = ConsumerThread.__new__(ConsumerThread)
    made._consumer = kafka
    made.consumer = SimpleNamespace(flow_active=True)
    made.app = SimpleNamespace(consumer_generation_id=generations[0])

    async def fetched(*_args: Any, **_kwargs: Any) -> Any:
        made.app.consumer_generation_id = generations[1]
        return {LOG: [record(7), record(8)], LEFT: [record(3)]}

    made._fetch_records = fetched
    return made


async def test_what_is_fetched_carries_its_generation() -> None:
    kafka = FakeKafka()
    generation, records = await thread(kafka, [4, 4])._fetch({LOG}, 1)
    assert (generation, records.keys(), kafka.sought) == (4, {LOG, LEFT}, [])


async def test_a_fetch_that_outlives_its_generation_puts_back_what_it_took() -> None:
    """It took the first records of the next one, which nobody would ever see again."""
    kafka = FakeKafka()
    assert await thread(kafka, [4, 5])._fetch({LOG}, 1) == (4, {})
    assert kafka.sought == [(LOG, 7)]


async def test_only_an_answered_heartbeat_renews_the_lease() -> None:
    clock, answers = FrozenClock(), [True, False]
    lease = Lease(session_seconds=10, clock=clock, die=end)

    async def beat() -> bool:
        clock.move(1)  # the answer takes its time
        return answers.pop(0)

    coordinator: Any = SimpleNamespace(_do_heartbeat=beat)
    renew_by_heartbeats(coordinator, lease=lease, clock=clock)
    lease.grant()
    clock.move(5)
    sent_at = clock.monotonic()
    assert await coordinator._do_heartbeat()
    assert lease._renewed_at == sent_at
    assert not await coordinator._do_heartbeat()
    assert lease._renewed_at == sent_at
