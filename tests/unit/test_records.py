from __future__ import annotations

import zlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes import tracing
from certes.event import event_id
from certes.records import AVRO, JSON, KIND, MAC, Arrival, Headers, Own, id_scope, own_headers, read, signed

KEY = b"k" * 32


@dataclass(frozen=True)
class Read:
    """A record as a Kafka client hands it out."""

    headers: Headers = ()
    value: bytes | None = b"{}"
    key: bytes | None = None
    partition: int = 3
    offset: int = 42
    timestamp: int = 1_700_000_000_000


def arrival(*headers: tuple[str, bytes | None], value: bytes | None = b"{}", key: bytes | None = None) -> Arrival:
    found = read(Read(headers, value, key), cluster_key=KEY)
    assert isinstance(found, Arrival)
    return found


def vouched(*headers: tuple[str, bytes], value: bytes = b"{}", key: bytes | None = None) -> Arrival:
    return arrival(*signed(headers, value, cluster_key=KEY), value=value, key=key)


NAMES = st.sampled_from(
    [
        *(KIND, MAC, "certes_source", "certes_schema", "certes_trace", "content-type", "traceparent"),
        *("ce_id", "ce_type", "ce_source", "ce_time", "ce_partitionkey"),
    ]
) | st.text(st.characters())
CONTENTS = st.none() | st.binary(max_size=60) | st.sampled_from([b"event", b"outcomes", b"command", b"\xff\xfe", b"12"])
HEADERS = st.lists(st.tuples(NAMES, CONTENTS), max_size=8)


@given(HEADERS, st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=40))
def test_any_record_is_read(headers: list[tuple[str, bytes | None]], value: bytes | None, key: bytes | None) -> None:
    found = read(Read(headers, value, key), cluster_key=KEY)
    assert isinstance(found, Arrival)  # nobody guesses a MAC
    assert found.source == "kafka"
    assert found.schema_id is None
    assert found.trace[-1] == "eb.3-42"
    assert found.given_id != ""
    for text in (found.uri, found.given_id, found.ce_source, found.key, found.content_type, found.time, found.forged):
        (text or "").encode()  # a row can hold it


@given(st.lists(st.tuples(NAMES.filter(lambda name: name != MAC), st.binary(max_size=60)), max_size=8), st.binary())
def test_any_record_with_a_valid_mac_is_read(headers: list[tuple[str, bytes]], value: bytes) -> None:
    record = Read(signed(headers, value, cluster_key=KEY), value)
    kind = dict(headers).get(KIND) or b"event"
    found = read(record, cluster_key=KEY)
    if kind in (b"outcomes", b"command"):
        assert found == Own(kind.decode(), 3, 42, value)
    else:
        assert isinstance(found, Arrival)
        assert (found.forged is None) == (kind == b"event")


@pytest.mark.parametrize("kind", ["outcomes", "command"])
def test_own_records_need_the_clusters_mac(kind: str) -> None:
    headers = own_headers(kind, b"value", cluster_key=KEY)
    assert read(Read(headers, b"value"), cluster_key=KEY) == Own(kind, 3, 42, b"value")
    assert dict(headers)["content-type"] == AVRO.encode()
    for forged in (
        Read(headers, b"other"),
        Read(headers[:-1], b"value"),
        Read([*headers[:-1], (MAC, b"")], b"value"),
        Read([*headers[:-1], (MAC, None)], b"value"),
        Read([*headers, headers[-1]], b"value"),
        Read([*headers, ("extra", b"x")], b"value"),
        Read(own_headers(kind, b"value", cluster_key=b"another key"), b"value"),
    ):
        found = read(forged, cluster_key=KEY)
        assert isinstance(found, Arrival)
        assert (found.forged, found.source) == (kind, "kafka")


def test_a_kind_that_nobody_knows_is_forged_even_with_a_mac() -> None:
    assert arrival((KIND, b"snapshot")).forged == "snapshot"
    found = vouched((KIND, b"snapshot"), ("certes_source", b"github"), ("certes_schema", b"17"))
    assert (found.forged, found.source, found.schema_id) == ("snapshot", "kafka", None)
    assert arrival((KIND, b"x" * 500)).forged == "x" * 32


def test_an_empty_kind_is_an_event() -> None:
    assert arrival((KIND, b"")).forged is None
    assert arrival((KIND, b"event")).forged is None


def test_what_a_gateway_vouches_for_is_believed() -> None:
    found = vouched(
        ("ce_type", b"a.dev/_/1/x"),
        ("ce_id", b"o-1"),
        ("ce_source", b"//github.com/x"),
        ("certes_source", b"github"),
        ("certes_schema", b"17"),
        ("certes_trace", b"ext.req-1,gw.9f"),
        key=b"github\0o-1",
    )
    assert (found.source, found.ce_source, found.schema_id, found.forged) == ("github", "//github.com/x", 17, None)
    assert found.trace == ("ext.req-1", "gw.9f", "eb.3-42")
    assert found.id == event_id(partition=3, source=id_scope("github", "//github.com/x"), given="o-1")
    assert found.key is None  # the record key of a gateway only spreads


def test_nothing_is_believed_without_a_mac() -> None:
    claims = (("certes_source", b"github"), ("certes_schema", b"17"), ("certes_trace", b"gw.9f,ext.r"), ("ce_id", b"1"))
    found = arrival(*claims)
    assert (found.source, found.schema_id, found.forged) == ("kafka", None, None)
    assert found.trace == ("ext.gw.9f", "ext.r", "eb.3-42")
    assert found.id != vouched(*claims).id


def test_a_wrong_mac_makes_an_event_foreign_with_an_id_of_its_own() -> None:
    genuine = signed((("certes_source", b"github"), ("ce_id", b"o-1")), b"{}", cluster_key=KEY)
    found = arrival(*genuine, value=b"{ }")
    assert (found.source, found.forged) == ("kafka", "event")
    assert found.id == event_id(partition=3, source="kafka", given="3/42")  # it takes nobody's place


def test_headers_without_content_are_not_there() -> None:
    genuine = signed((("certes_source", b"github"),), b"{}", cluster_key=KEY)
    assert arrival(*genuine, ("certes_source", None), (MAC, None)).source == "github"
    assert arrival(("ce_id", None), ("ce_type", None)).given_id is None


def test_repeats_cannot_be_turned_round_under_a_valid_mac() -> None:
    one, two = ("certes_source", b"github"), ("certes_source", b"stripe")
    mac = signed((one, two), b"{}", cluster_key=KEY)[-1]
    assert arrival(one, two, mac).source == "stripe"
    assert arrival(two, one, mac).forged == "event"


def test_a_stock_confluent_record_without_headers() -> None:
    value = b"\x00\x00\x00\x00\x07\x06o-1"
    found = arrival(value=value, key=b"customer-7")
    assert found == Arrival(
        id=event_id(partition=3, source="kafka", given="3/42"),
        partition=3,
        offset=42,
        received_at=1_700_000_000_000,
        source="kafka",
        value=value,
        checksum=zlib.crc32(value),
        key="customer-7",
        trace=("eb.3-42",),
    )


def test_the_cloudevents_binding_in_binary_mode() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    found = arrival(
        ("ce_specversion", b"1.0"),
        ("ce_type", b"a.dev/_/1/x"),
        ("ce_id", b"o-1"),
        ("ce_source", b"/shop"),
        ("ce_time", b"2026-11-24T16:03:00Z"),
        ("ce_partitionkey", b"customer-7"),
        ("content-type", JSON.encode()),
        ("traceparent", traceparent.encode()),
        key=b"other",
    )
    assert (found.uri, found.given_id, found.ce_source) == ("a.dev/_/1/x", "o-1", "/shop")
    assert (found.time, found.content_type, found.traceparent) == ("2026-11-24T16:03:00Z", JSON, traceparent)
    assert found.key == "customer-7"


def test_a_tombstone_is_an_event_without_value() -> None:
    assert (arrival(value=None).value, arrival(value=None).checksum) == (b"", 0)


@pytest.mark.parametrize(
    ("named", "record_key", "by_gateway", "key"),
    [
        (b"named", b"record", False, "named"),
        (None, b"record", False, "record"),
        (None, None, False, None),
        (b"named", b"record", True, "named"),
        (None, b"record", True, None),
        (None, b"\xff\x00", False, "\ufffd\x00"),
    ],
)
def test_ordering_keys(named: bytes | None, record_key: bytes | None, *, by_gateway: bool, key: str | None) -> None:
    headers = () if named is None else (("ce_partitionkey", named),)
    found = vouched(*headers, key=record_key) if by_gateway else arrival(*headers, key=record_key)
    assert found.key == key


def test_publishers_over_kafka_that_give_the_same_id_are_kept_apart_by_their_source() -> None:
    one = arrival(("ce_id", b"1"), ("ce_source", b"/shop"))
    assert one.id == arrival(("ce_id", b"1"), ("ce_source", b"/shop"), value=b"again").id
    assert one.id != arrival(("ce_id", b"1"), ("ce_source", b"/bar")).id
    assert one.id != arrival(("ce_id", b"1")).id
    assert one.id != vouched(("ce_id", b"1"), ("certes_source", b"shop")).id


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_two_given_ids_are_one_event_only_when_they_are_the_same_bytes(one: bytes, other: bytes) -> None:
    assert (arrival(("ce_id", one)).id == arrival(("ce_id", other)).id) == (one == other)


@pytest.mark.parametrize(("one", "other"), [(b"\xff", b"\xfe"), (b"x" * 3000 + b"1", b"x" * 3000 + b"2")])
def test_ids_that_cannot_be_shown_in_full_are_still_told_apart(one: bytes, other: bytes) -> None:
    first, second = arrival(("ce_id", one)), arrival(("ce_id", other))
    assert first.given_id == second.given_id
    assert first.id != second.id
    assert arrival(("ce_id", b"1"), ("ce_source", one)).id != arrival(("ce_id", b"1"), ("ce_source", other)).id


def test_an_empty_id_is_none() -> None:
    found = arrival(("ce_id", b""))
    assert (found.given_id, found.id) == (None, event_id(partition=3, source="kafka", given="3/42"))


@pytest.mark.parametrize("raw", [b"", b"x", b"-1", b"1.0", b"12345678901", "\u0661".encode(), b" 1"])
def test_a_schema_id_is_a_number(raw: bytes) -> None:
    assert vouched(("certes_schema", raw)).schema_id is None


@pytest.mark.parametrize("raw", [b"", b"00-XYZ", b"00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", b"\xff"])
def test_what_is_no_trace_context_is_dropped(raw: bytes) -> None:
    assert arrival(("traceparent", raw)).traceparent is None


def test_of_a_long_trace_the_last_ids_are_kept() -> None:
    ids = [*(f"ext.{number:060}" for number in range(tracing.MAX_IDS)), "gw.9f"]
    trace = vouched(("certes_trace", tracing.write(ids).encode())).trace
    assert trace == (*ids[1:], "eb.3-42")


def test_long_texts_are_cut() -> None:
    assert len(arrival(("ce_type", b"x" * 9000)).uri or "") == 2048
