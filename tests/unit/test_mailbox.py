"""The mailbox against a naive model, under any interleaving; and what an operation costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from certes.mailbox import Item, Mailbox

EVENTS = tuple(f"evt_{number}" for number in range(8))
SUBSCRIPTIONS = ("sub_1", "sub_2", "sub_3")


def item(event="evt_1", subscription="sub_1", **kwargs):
    fields = {"partition": 0, "offset": 1, "priority": 4, "due": 0, "epoch": 1, "attempt": 0, **kwargs}
    return Item(event=event, subscription=subscription, **fields)


def mailbox(*items, limit=32, partitions=(0,), **kwargs):
    box = Mailbox(limit=limit if callable(limit) else lambda subscription: limit, **kwargs)
    for partition in partitions:
        box.open(partition)
    for one in items:
        box.put(one)
    return box


def taken(box, now=1_000, **kwargs):
    """All that can be borrowed now."""
    found = []
    while (one := box.take(now, **kwargs)) is not None:
        found.append(one)
    return found


# -- against a model


@dataclass
class Known:
    """A delivery as the fold said last, and what is lent of it."""

    said: Item | None
    lent: Item | None = None  # a call is going on
    held: Item | None = None  # its call has ended, and the fold has not said another try


def try_of(one):
    return (one.epoch, one.attempt)


class Against(RuleBasedStateMachine):
    """The model is a dictionary that is searched from end to end."""

    def __init__(self):
        super().__init__()
        self.limits = dict.fromkeys(SUBSCRIPTIONS, 2)
        self.told = 0
        self.box = Mailbox(limit=self.limits.__getitem__, changed=self._tell)
        self.known: dict[tuple[str, str], Known] = {}
        self.ended: list[Item] = []
        self.open: set[int] = set()
        self.now = 0

    def _tell(self):
        self.told += 1

    def running(self, subscription):
        return sum(one.lent is not None for key, one in self.known.items() if key[1] == subscription)

    def takeable(self, at_least=0):
        found = [
            known.said
            for key, known in self.known.items()
            if known.said is not None
            and known.lent is None
            and known.held is None
            and known.said.partition in self.open
            and known.said.due <= self.now
            and known.said.priority >= at_least
            and self.running(key[1]) < self.limits[key[1]]
        ]
        return sorted(found, key=lambda one: one.rank)

    @rule(
        number=st.integers(0, len(EVENTS) - 1),
        subscription=st.sampled_from(SUBSCRIPTIONS),
        due=st.integers(0, 30),
        epoch=st.integers(1, 2),
        attempt=st.integers(0, 3),
    )
    def fold_says_open(self, number, subscription, due, epoch, attempt):
        key = (EVENTS[number], subscription)
        known = self.known.setdefault(key, Known(None))
        # Priority is decided once, and a due time belongs to its try.
        one = Item(number % 2, number, *key, number % 5 * 2, due, epoch, attempt)
        for same in (known.said, known.lent):
            if same is not None and try_of(same) == try_of(one):
                one = replace(one, due=same.due)
        if known.held is not None and try_of(known.held) != try_of(one):
            known.held = None
        known.said = one
        self.box.put(one)

    @rule(number=st.integers(0, len(EVENTS) - 1), subscription=st.sampled_from(SUBSCRIPTIONS))
    def fold_says_over(self, number, subscription):
        key = (EVENTS[number], subscription)
        self.box.remove(*key)
        self._over(key)

    def _over(self, key):
        if (known := self.known.get(key)) is not None:
            known.said = None
            if known.lent is None:
                del self.known[key]

    @rule(partition=st.integers(0, 1))
    def partition_opens(self, partition):
        self.box.open(partition)
        self.open.add(partition)

    @rule(partition=st.integers(0, 1))
    def partition_leaves(self, partition):
        self.box.close(partition)
        self.open.discard(partition)
        for key in list(self.known):
            if EVENTS.index(key[0]) % 2 == partition:
                self._over(key)

    @rule(at_least=st.sampled_from([0, 0, 0, 4, 8]))
    def take(self, at_least):
        best = self.takeable(at_least)
        one = self.box.take(self.now, at_least=at_least)
        if not best:
            assert one is None
            return
        assert one is not None, f"lost: {best[0]}"
        assert one.rank == best[0].rank
        known = self.known[one.key]
        assert known.said == one
        assert known.lent is None, "lent twice"
        known.lent, known.held = one, None

    @precondition(lambda self: any(known.lent for known in self.known.values()))
    @rule(data=st.data())
    def release(self, data):
        lent = sorted((known.lent for known in self.known.values() if known.lent), key=lambda one: one.key)
        one = data.draw(st.sampled_from(lent))
        self.box.release(one)
        known = self.known[one.key]
        known.lent = None
        if known.said is None:
            del self.known[one.key]
        elif try_of(known.said) == try_of(one):
            known.held = one
        self.ended.append(one)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def give_back(self, data):
        """Each item whose call has ended may be given back once, however late."""
        one = self.ended.pop(data.draw(st.integers(0, len(self.ended) - 1)))
        self.box.give_back(one)
        known = self.known.get(one.key)
        if known is not None and known.held is one:
            known.held = None

    @rule(subscription=st.sampled_from(SUBSCRIPTIONS), limit=st.integers(0, 3))
    def limit_changes(self, subscription, limit):
        self.limits[subscription] = limit
        self.box.refresh(subscription)

    @rule(steps=st.integers(1, 15))
    def time_passes(self, steps):
        self.now += steps

    @invariant()
    def it_agrees(self):
        assert len(self.box) == len(self.known)
        running = {name: count for name in SUBSCRIPTIONS if (count := self.running(name))}
        assert self.box.running == running
        for key, known in self.known.items():
            assert self.box.is_running(*key) == (known.lent is not None)

    @invariant()
    def it_wakes_in_time(self):
        """What is not due yet has an alarm that is not too late."""
        later = [
            known.said.due
            for known in self.known.values()
            if known.said and not known.lent and not known.held and known.said.due > self.now
            if known.said.partition in self.open
        ]
        if later:
            alarm = self.box.next_due()
            assert alarm is not None
            assert alarm <= min(later)

    def teardown(self):
        """Nothing is lost: with room for all and time passed, all that is open can be had."""
        for partition in (0, 1):
            self.partition_opens(partition)
        for name in SUBSCRIPTIONS:
            self.limit_changes(name, 100)
        self.now += 100
        expected = self.takeable()
        found = taken(self.box, self.now)
        assert [one.rank for one in found] == [one.rank for one in expected]
        assert {one.key for one in found} == {one.key for one in expected}


Against.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestAgainstModel = Against.TestCase


# -- one by one


def test_priority_then_due_then_log_order():
    items = [
        item("evt_late", due=9, offset=1, priority=9),
        item("evt_low", due=1, offset=2, priority=1),
        item("evt_second", due=5, offset=7, priority=9),
        item("evt_first", due=5, offset=3, priority=9, subscription="sub_2"),
    ]
    assert [one.event for one in taken(mailbox(*items))] == ["evt_first", "evt_second", "evt_late", "evt_low"]


def test_what_is_not_due_waits():
    box = mailbox(item(due=500))
    assert box.take(499) is None
    assert box.next_due() == 500
    assert box.take(500) is not None
    assert box.next_due() is None


def test_room_is_free_when_the_call_has_ended_not_when_the_outcome_is_read():
    box = mailbox(item("evt_1"), item("evt_2", offset=2), limit=1)
    one = box.take(0)
    assert box.take(0) is None
    box.release(one)
    assert box.take(0).event == "evt_2"


def test_what_has_ended_stays_lent_until_the_fold_says():
    box = mailbox(item())
    one = box.take(0)
    box.release(one)
    box.put(item())  # written again as it stands
    assert box.take(0) is None
    box.put(item(attempt=1, due=10))
    assert box.take(9) is None
    assert box.take(10).attempt == 1


def test_the_fold_may_read_the_outcome_before_the_call_is_released():
    box = mailbox(item())
    one = box.take(0)
    box.put(item(attempt=1))
    assert box.take(0) is None
    box.release(one)
    assert box.take(0).attempt == 1
    box.give_back(one)  # far too late
    assert box.take(0) is None


def test_give_back_makes_it_takeable_again_in_its_place():
    box = mailbox(item("evt_1"), item("evt_2", offset=2))
    one = box.take(0)
    box.release(one)
    box.give_back(one)
    assert [again.event for again in taken(box)] == ["evt_1", "evt_2"]
    box.give_back(item("evt_3"))


def test_what_is_removed_while_it_runs_is_not_lent_again():
    box = mailbox(item())
    one = box.take(0)
    box.remove(*one.key)
    box.remove("evt_unknown", "sub_1")
    assert len(box) == 1
    box.release(one)
    assert len(box) == 0
    assert box.take(0) is None


def test_a_partition_that_returns_while_a_call_runs_does_not_lend_it_twice():
    box = mailbox(item())
    one = box.take(0)
    box.close(0)
    box.put(item())
    box.open(0)
    assert box.take(0) is None
    box.release(one)
    assert box.take(0) is None
    box.give_back(one)
    assert box.take(0) == one


def test_a_closed_partition_lends_nothing_and_keeps_nothing():
    box = mailbox(item(), partitions=())
    assert box.take(0) is None
    box.open(0)
    box.open(0)
    assert len(taken(box)) == 1
    box = mailbox(item())
    box.close(0)
    assert (len(box), box.take(0)) == (0, None)


def test_a_held_subscription_lends_nothing_until_its_limit_changes():
    limits = {"sub_1": 0, "sub_2": 1}
    box = mailbox(item(priority=9), item(subscription="sub_2"), limit=limits.__getitem__)
    assert [one.subscription for one in taken(box)] == ["sub_2"]
    limits["sub_1"] = 1
    box.refresh("sub_1")
    box.refresh("sub_unknown")
    assert [one.subscription for one in taken(box)] == ["sub_1"]


def test_the_floor_lends_only_what_is_urgent_and_forgets_nothing():
    box = mailbox(item("evt_1", priority=3), item("evt_2", priority=8))
    assert [one.event for one in taken(box, at_least=8)] == ["evt_2"]
    assert [one.event for one in taken(box)] == ["evt_1"]


def test_a_place_among_the_others_that_is_out_of_date_is_passed_over():
    box = mailbox(item("evt_middle", priority=5), item("evt_low", priority=1))
    assert box.take(0, at_least=9) is None  # they stand under the middle one
    box.put(item("evt_high", priority=9))
    assert box.take(0).event == "evt_high"
    box.remove("evt_middle", "sub_1")
    assert box.take(0).event == "evt_low"


def test_those_who_wait_are_told():
    told = []
    box = mailbox(changed=lambda: told.append(1))
    box.put(item())
    assert told
    one = box.take(0)
    told.clear()
    box.release(one)
    assert told


def test_memory_does_not_grow_with_what_passes():
    """A low backlog behind ten thousand urgent ones of the same subscription."""
    box = mailbox(*[item(f"evt_low{number}", priority=1, offset=number) for number in range(5)])
    for number in range(10_000):
        one = item(f"evt_{number}", priority=9, offset=number)
        box.put(one)
        assert box.take(0) == one
        box.release(one)
        box.remove(*one.key)
    assert len(box) == 5
    assert len(box._heads) + len(box._delayed) + sum(len(queue.heap) for queue in box._queues.values()) < 50


# -- cost


def cost(size, *, rounds=2_000):
    """Seconds of one delivery passing through a mailbox that holds `size` others; the best of three."""
    box = mailbox(limit=1_000_000)
    for number in range(size):
        box.put(item(f"evt_{number}", f"sub_{number % 50}", offset=number, due=number % 1_000, priority=number % 10))
    best = []
    for _ in range(3):
        began = perf_counter()
        for _ in range(rounds):
            one = box.take(2_000)
            box.release(one)
            box.put(replace(one, attempt=one.attempt + 1, due=1_500))
        best.append((perf_counter() - began) / rounds)
    return min(best)


@pytest.mark.timeout(60)
def test_the_cost_of_a_delivery_hardly_grows_with_those_that_wait():
    cost(100)
    assert cost(100_000) < 3 * cost(1_000) + 20e-6
