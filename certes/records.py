"""The records of the topic: what an event, an outcome or a command looks like in Kafka, and reading it safely.

Events follow the CloudEvents Kafka binding in binary mode. A header `certes_kind` tells outcomes and commands apart.
Own records and what a gateway vouches for carry `certes_mac`, an HMAC with the cluster's key over headers and value;
a record that claims to be ours without a valid one is foreign and is rejected.
"""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from certes import tracing
from certes.event import event_id
from certes.signing import record_mac

KAFKA_SOURCE = "kafka"
KIND = "certes_kind"
MAC = "certes_mac"
JSON = "application/json"
AVRO = "application/avro"
Kind = Literal["event", "outcomes", "command"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_TEXT_LIMIT = 2048  # as long as an event URI may be
_TRACE_LIMIT = tracing.MAX_IDS * 65  # so many ids of 64 characters, with their commas

Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """A record as a Kafka client hands it out. `timestamp` is ms since 1970, set by Kafka (LogAppendTime)."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event record as read, before anybody looked at its schema. Times are ms since 1970.

    `source` is the verified one, or `kafka`; `ce_source` what the publisher says. `schema_id` is set when the gateway
    has validated the payload against that schema. `forged` names what the record claimed to be without being it.
    """

    id: str
    partition: int
    offset: int
    received_at: int
    source: str
    value: bytes
    checksum: int
    uri: str | None = None
    ce_source: str | None = None
    given_id: str | None = None
    key: str | None = None
    content_type: str | None = None
    time: str | None = None
    traceparent: str | None = None
    trace: tuple[str, ...] = ()
    schema_id: int | None = None
    forged: str | None = None


@dataclass(frozen=True, slots=True)
class Own:
    """An outcome or command record whose MAC is valid; `value` is still encoded (`schemas`)."""

    kind: Literal["outcomes", "command"]
    partition: int
    offset: int
    value: bytes


def read(record: Record, *, cluster_key: bytes) -> Arrival | Own:
    """Tell what a record is. Any bytes give an answer; nothing is raised."""
    headers = {name: content for name, content in record.headers if content is not None}
    kind = _text(headers.get(KIND)) or "event"
    vouched = MAC in headers and _mac_is_valid(record, cluster_key)
    if vouched and kind == "outcomes":
        return Own("outcomes", record.partition, record.offset, record.value or b"")
    if vouched and kind == "command":
        return Own("command", record.partition, record.offset, record.value or b"")
    forged = None if kind == "event" and vouched == (MAC in headers) else kind[:32]
    return _arrival(record, headers, vouched=vouched and kind == "event", forged=forged)


def id_scope(source: str, ce_source: str) -> str:
    """Within which given ids are unique: CloudEvents says per `ce-source`, of which one sender may have many."""
    return f"{source}\0{ce_source}"


def _arrival(record: Record, headers: dict[str, bytes], *, vouched: bool, forged: str | None) -> Arrival:
    ce_source = _text(headers.get("ce_source"))
    given = headers.get("ce_id") or None  # an empty id is none: all that have it would be one event
    source = _text(headers.get("certes_source")) if vouched else None
    scope = id_scope(source or KAFKA_SOURCE, _exact(headers.get("ce_source", b"")))
    if given is None or forged:
        scope, identity = KAFKA_SOURCE, f"{record.partition}/{record.offset}"
    else:
        identity = _exact(given)
    value = record.value or b""
    return Arrival(
        id=event_id(partition=record.partition, source=scope, given=identity),
        partition=record.partition,
        offset=record.offset,
        received_at=record.timestamp,
        source=source or KAFKA_SOURCE,
        value=value,
        checksum=zlib.crc32(value),
        uri=_text(headers.get("ce_type")),
        ce_source=ce_source,
        given_id=_text(given),
        key=_ordering_key(record, headers, vouched=vouched),
        content_type=_text(headers.get("content-type")),
        time=_text(headers.get("ce_time")),
        traceparent=_traceparent(headers),
        trace=_trace(record, headers, vouched=vouched),
        schema_id=_number(headers.get("certes_schema")) if vouched else None,
        forged=forged,
    )


def _ordering_key(record: Record, headers: dict[str, bytes], *, vouched: bool) -> str | None:
    """`ce_partitionkey`, else the record key of a stock producer; a gateway's record key may be the event's id."""
    named = _text(headers.get("ce_partitionkey"))
    return named if named is not None or vouched else _text(record.key)


def _trace(record: Record, headers: dict[str, bytes], *, vouched: bool) -> tuple[str, ...]:
    # The last ids count: the end of a long list is kept, not its beginning.
    header = headers.get("certes_trace", b"")[-_TRACE_LIMIT:].decode("utf-8", "replace")
    before = tracing.read(header, foreign=not vouched)
    return (*before, tracing.position_id(record.partition, record.offset))


def _traceparent(headers: dict[str, bytes]) -> str | None:
    text = _text(headers.get("traceparent"))
    return text if text is not None and _TRACEPARENT.match(text) else None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw[:_TEXT_LIMIT].decode("utf-8", "replace")


def _exact(raw: bytes) -> str:
    """A text that no other bytes give: ids may differ in what `_text` drops."""
    return raw.decode("utf-8", "surrogateescape")


def _number(raw: bytes | None) -> int | None:
    return int(raw) if raw is not None and raw.isdigit() and len(raw) < 11 else None


def _mac_is_valid(record: Record, cluster_key: bytes) -> bool:
    # A header without content is not read at all, so it is not signed either.
    present = [(name, content) for name, content in record.headers if content is not None]
    given = [content for name, content in present if name == MAC]
    rest = [(name, content) for name, content in present if name != MAC]
    return len(given) == 1 and hmac.compare_digest(given[0], record_mac(cluster_key, rest, record.value or b""))


def signed(headers: Iterable[tuple[str, bytes]], value: bytes, *, cluster_key: bytes) -> list[tuple[str, bytes]]:
    """The headers with the MAC that makes the record one of ours."""
    plain = list(headers)
    return [*plain, (MAC, record_mac(cluster_key, plain, value))]


def own_headers(kind: Literal["outcomes", "command"], value: bytes, *, cluster_key: bytes) -> list[tuple[str, bytes]]:
    """The headers of an outcome or command record."""
    return signed([(KIND, kind.encode()), ("content-type", AVRO.encode())], value, cluster_key=cluster_key)
