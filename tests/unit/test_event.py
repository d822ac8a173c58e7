"""Ids that know their partition, the event's state, and stored rows."""

from __future__ import annotations

import base64
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes import event
from certes.delivery import Delivery
from certes.errors import Fatal, Malformed
from certes.event import EventRow, Problem, SchemaRef, event_id, partition_of, state_of


@given(partition=st.integers(0, 65_535), source=st.text(), given_id=st.text())
def test_an_id_knows_its_partition(partition, source, given_id):
    identifier = event_id(partition=partition, source=source, given=given_id)
    assert partition_of(identifier) == partition
    assert identifier == event_id(partition=partition, source=source, given=given_id)
    assert len(identifier) == 27
    assert identifier.removeprefix("evt_").isalnum()


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_source_and_given_id_are_told_apart(one, other):
    ids = {event_id(partition=3, source=source, given=given_id) for source, given_id in (one, other)}
    assert len(ids) == len({one, other})


def test_an_id_is_what_the_design_says():
    """Ids stand in other people's databases: they must not change between versions."""
    assert event_id(partition=1, source="github", given="x") == "evt_aaa4qemuscqu3d7n7qisbdi"


@given(
    st.one_of(
        st.text(),
        st.text().map(lambda text: "evt_" + text),
        st.binary().map(lambda raw: "evt_" + base64.b32encode(raw).decode()),
    )
)
def test_what_is_no_id_is_malformed_and_nothing_else(text):
    with suppress(Malformed):
        assert 0 <= partition_of(text) <= 65_535


@pytest.mark.parametrize(
    "text", ["", "evt_", "sub_aaa4qemuscqu3d7n7qisbdi", "evt_1", "evt_ß", "evt_" + "a" * 22, "evt_" + "a" * 24]
)
def test_such_ids_are_refused(text):
    with pytest.raises(Malformed):
        partition_of(text)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), "unrouted"),
        (("pending",), "delivering"),
        (("delivered", "waiting"), "delivering"),
        (("exhausted", "pending"), "delivering"),
        (("delivered",), "delivered"),
        (("delivered", "exhausted"), "failed"),
        (("cancelled", "expired"), "failed"),
        (("cancelled", "cancelled"), "cancelled"),
        (("cancelled", "delivered"), "delivered"),
    ],
)
def test_the_state_of_an_event(states, expected):
    deliveries = tuple(Delivery(f"sub_{number}", state, 4, 0, 0) for number, state in enumerate(states))
    assert state_of(deliveries) == expected


def row(**kwargs):
    fields = {
        "v": 1,
        "id": "evt_1",
        "partition": 0,
        "offset": 1,
        "applied": 2,
        "received_at": 3,
        "checksum": 4,
        "size": 5,
    }
    return EventRow(**{**fields, "state": "delivering", "source": "kafka", **kwargs})


def test_a_row_is_read_as_it_was_written():
    one = row(
        schema=SchemaRef(3, "1.2"), errors=(Problem("no", "$.a"),), deliveries=(Delivery("sub_1", "pending", 4, 1, 1),)
    )
    assert event.load(event.dump(one)) == one
    assert one.delivery("sub_1") is one.deliveries[0]
    assert one.delivery("sub_2") is None


@pytest.mark.parametrize("stored", [event.dump(row(v=2)), event.dump(row()).replace(b'"v":1', b'"v":7,"state":{}')])
def test_a_newer_row_is_fatal_whatever_it_looks_like(stored):
    with pytest.raises(Fatal, match="upgrade this worker"):
        event.load(stored)


@given(st.binary(max_size=40))
def test_garbage_is_no_row(stored):
    with pytest.raises((ValueError, Fatal)):
        event.load(stored)


def test_fields_of_a_later_minor_change_are_passed_over():
    stored = msgspec.json.encode({**msgspec.json.decode(event.dump(row())), "new_field": 1})
    assert event.load(stored) == row()
