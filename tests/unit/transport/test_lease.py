from __future__ import annotations

import pytest

from agents.transport.lease import Lease
from certes.clock import FrozenClock
from tests.apps.ended import Ended, end


def lease(clock: FrozenClock) -> Lease:
    return Lease(session_seconds=10, clock=clock, die=end)


def test_it_holds_until_the_session_time_out_less_a_margin() -> None:
    clock = FrozenClock()
    held = lease(clock)
    held.grant()
    clock.move(8)
    held.check()
    clock.move(0.1)
    with pytest.raises(Ended, match=r"8\.1 s"):
        held.check()


def test_a_heartbeat_renews_it_from_when_it_was_sent() -> None:
    clock = FrozenClock()
    held = lease(clock)
    held.grant()
    clock.move(6)
    sent_at = clock.monotonic()
    clock.move(3)
    held.renew(sent_at)
    clock.move(5)
    held.check()
    clock.move(0.1)
    with pytest.raises(Ended):
        held.check()


def test_a_late_answer_to_an_early_heartbeat_takes_nothing_away() -> None:
    clock = FrozenClock()
    held = lease(clock)
    early = clock.monotonic()
    clock.move(5)
    held.grant()
    held.renew(early)
    clock.move(7)
    held.check()


def test_without_partitions_there_is_nothing_to_lose() -> None:
    clock = FrozenClock()
    held = lease(clock)
    held.check()
    held.grant()
    held.release()
    held.renew(clock.monotonic())
    clock.move(100)
    held.check()
