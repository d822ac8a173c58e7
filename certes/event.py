"""An event as Certes keeps it: its id, its state, and the row that the fold makes of the log."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

import msgspec

from certes.delivery import OPEN, Delivery
from certes.errors import Fatal, Malformed

EventState = Literal["accepted", "rejected", "unrouted", "delivering", "failed", "cancelled", "delivered"]

ROW_VERSION = 1
_PREFIX = "evt_"
_ID_BYTES = 14  # two of the partition, twelve of the digest


def event_id(*, partition: int, source: str, given: str) -> str:
    """`evt_` and base32 of (partition, 96 bits of SHA-256 over source and given id).

    Whoever has the id knows the partition, and the same source and given id in one partition always yield the same.
    """
    digest = hashlib.sha256(f"{len(source)}:{source}{given}".encode("utf-8", "surrogateescape")).digest()[:12]
    raw = partition.to_bytes(2, "big") + digest
    return _PREFIX + base64.b32encode(raw).decode().rstrip("=").lower()


def partition_of(identifier: str) -> int:
    """The log partition of an event id. Raises Malformed when it is none."""
    text = identifier.removeprefix(_PREFIX)
    try:
        raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        raw = b""
    if not identifier.startswith(_PREFIX) or len(raw) != _ID_BYTES:
        raise Malformed(f"{identifier[:64]!r} is no event id: it is evt_ and 23 characters, as answered on publishing")
    return int.from_bytes(raw[:2], "big")


class SchemaRef(msgspec.Struct, frozen=True):
    """The schema version that an event was written with."""

    id: int
    version: str | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an event was rejected, or what it waits for."""

    reason: str
    path: str = ""


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that was applied: what somebody asked for, when (ms since 1970), and the correlation id of the asking."""

    action: str
    at: int
    actor: str = ""
    trace: str = ""


class EventRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event: what came in, where its payload lies, and the state of its deliveries. Times are ms since 1970.

    `applied` is the highest log offset folded into the row; `checksum` is the CRC-32 of the value at
    (`partition`, `offset`), by which a reader knows that it found the right record. `trace` are the correlation ids up to
    the broker; those after it stand in `asked` and in the attempts, with their times.
    """

    v: int
    id: str
    partition: int
    offset: int
    applied: int
    received_at: int
    checksum: int
    size: int
    state: EventState
    source: str
    uri: str | None = None
    ce_source: str | None = None
    given_id: str | None = None
    key: str | None = None
    content_type: str | None = None
    schema: SchemaRef | None = None
    time: str | None = None
    traceparent: str | None = None
    trace: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    errors: tuple[Problem, ...] = ()
    duplicates: int = 0
    deliveries: tuple[Delivery, ...] = ()

    def delivery(self, subscription: str) -> Delivery | None:
        return next((one for one in self.deliveries if one.subscription == subscription), None)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(EventRow)


class _Versioned(msgspec.Struct):
    v: int


_VERSION = msgspec.json.Decoder(_Versioned)


def dump(row: EventRow) -> bytes:
    return _ENCODER.encode(row)


def load(stored: bytes) -> EventRow:
    """Read a stored row. Raises Fatal for a format that this version does not know."""
    try:
        row = _DECODER.decode(stored)
    except msgspec.ValidationError:
        row = None
    if row is None or row.v > ROW_VERSION:
        version = _VERSION.decode(stored).v
        raise Fatal(f"an event row has format {version}, this Certes reads up to {ROW_VERSION}: upgrade this worker")
    return row


def state_of(deliveries: tuple[Delivery, ...]) -> EventState:
    """The state of an event that has been routed, from the states of its deliveries (CONTRACT, Master API)."""
    states = {one.state for one in deliveries}
    if not states:
        return "unrouted"
    if states & OPEN:
        return "delivering"
    if "exhausted" in states or "expired" in states:
        return "failed"
    return "cancelled" if states == {"cancelled"} else "delivered"
