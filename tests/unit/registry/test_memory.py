from __future__ import annotations

import asyncio

import pytest

from certes.errors import NotFound, Unavailable
from certes.registry.memory import NEGATIVE_SECONDS, STALE_SECONDS, Memory


class Oracle:
    """Answers with how often it has been asked, or with the error it is told to raise."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key):
        self.asked.append(key)
        count = len(self.asked)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return count


@pytest.fixture
def oracle():
    return Oracle()


@pytest.fixture
async def memory(oracle, clock):
    memory = Memory(oracle, lambda _answer: 30.0, limit=3, clock=clock)
    yield memory
    await memory.close()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_counts_for_its_time(memory, oracle, clock):
    assert memory.peek("a") is None
    assert await memory.get("a") == 1
    clock.move(14.9)
    assert memory.peek("a") == await memory.get("a") == 1
    await settle()
    assert oracle.asked == ["a"]


async def test_an_answer_in_use_is_renewed_before_it_expires(memory, clock):
    await memory.get("a")
    clock.move(15)
    assert memory.peek("a") == 1
    await settle()
    assert memory.peek("a") == 2
    clock.move(14)
    assert memory.peek("a") == 2


async def test_an_idle_answer_expires(memory, oracle, clock):
    await memory.get("a")
    clock.move(30)
    assert memory.peek("a") is None
    await settle()
    assert oracle.asked == ["a"]
    assert await memory.get("a") == 2


async def test_all_who_wait_share_one_question(memory, oracle):
    oracle.gate.clear()
    waiting = [asyncio.create_task(memory.get("a")) for _ in range(10)]
    await settle()
    waiting[0].cancel()
    oracle.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [1] * 9


async def test_refusals_are_believed_shortly(memory, oracle, clock):
    oracle.error = NotFound("no such thing")
    for _ in range(2):
        with pytest.raises(NotFound):
            await memory.get("a")
    assert memory.peek("a") is oracle.error
    assert oracle.asked == ["a"]
    clock.move(NEGATIVE_SECONDS)
    assert memory.peek("a") is None
    oracle.error = None
    assert await memory.get("a") == 2


async def test_old_answers_stay_while_nobody_answers(memory, oracle, clock):
    await memory.get("a")
    oracle.error = Unavailable("down")
    clock.move(40)
    assert memory.peek("a") is None
    assert await memory.get("a") == 1
    failed_at = clock.monotonic()
    assert memory.failing_since == failed_at
    for _ in range(100):  # used all the time, it is never unknown
        clock.move(NEGATIVE_SECONDS)
        assert memory.peek("a") == 1
        await settle()
    assert memory.failing_since == failed_at
    oracle.error = None
    clock.move(NEGATIVE_SECONDS)
    memory.peek("a")
    await settle()
    assert memory.peek("a") == len(oracle.asked)
    assert memory.failing_since is None


async def test_while_nobody_answers_questions_are_seldom(memory, oracle, clock):
    await memory.get("a")
    oracle.error = Unavailable("down")
    clock.move(20)
    for _ in range(50):
        assert memory.peek("a") == 1
        await settle()
    assert len(oracle.asked) == 2
    clock.move(STALE_SECONDS)
    assert memory.peek("a") is None


async def test_nothing_known_and_nobody_answers(memory, oracle):
    oracle.error = Unavailable("down")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await memory.get("a")
    assert oracle.asked == ["a", "a"]


async def test_the_least_used_is_forgotten(memory):
    for key in "abc":
        await memory.get(key)
    memory.peek("a")
    await memory.get("d")
    assert len(memory) == 3
    assert memory.peek("b") is None
    assert memory.peek("a") == 1


async def test_an_answer_from_before_a_change_is_not_kept(memory, oracle):
    oracle.gate.clear()
    before = asyncio.create_task(memory.get("a"))
    await settle()
    memory.forget(lambda _answer: False)
    after = asyncio.create_task(memory.get("a"))
    await settle()
    oracle.gate.set()
    assert await before == 1
    assert await after == memory.peek("a") == 2


async def test_forget_keeps_what_it_is_told_to(memory):
    await memory.get("a")
    await memory.get("b")
    memory.forget(lambda answer: answer == 1)
    assert memory.peek("a") == 1
    assert memory.peek("b") is None


async def test_closing_ends_what_runs(oracle, clock):
    memory = Memory(oracle, lambda _answer: 30.0, limit=3, clock=clock)
    oracle.gate.clear()
    waiting = asyncio.create_task(memory.get("a"))
    await settle()
    await memory.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
