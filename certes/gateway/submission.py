"""What a publisher hands in, before anybody has looked at its schema: one event with its CloudEvents attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from certes import tracing
from certes.clock import from_rfc3339
from certes.errors import Malformed, Unsupported, Violation
from certes.records import AVRO, JSON
from certes.uri import EventUri

#: Bytes of an attribute; the broker reads no more of it.
MAX_ATTRIBUTE = 1024
MAX_ATTRIBUTES = 64
PREFIX = "ce-"

_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED_PAIR = re.compile(r"\\(.)")
#: Said by the record itself, so never passed on as further attributes.
_OWN = frozenset({"specversion", "type", "id", "traceparent", "datacontenttype", "data"})
_AVRO_TYPES = frozenset({AVRO, "avro/binary", "application/x-avro"})

Headers = CIMultiDictProxy[str]


@dataclass(frozen=True, slots=True)
class Submission:
    """One event as handed in. `content_type` is JSON or AVRO; `attributes` are the CloudEvents ones to pass on by name.

    `trace` are the correlation ids that came with it, marked as foreign; `where` is the JSON path of its payload in the
    body, for what is said about it.
    """

    uri: EventUri
    value: bytes
    content_type: str
    given: str | None
    attributes: Mapping[str, str]
    traceparent: str | None
    trace: tuple[str, ...]
    where: str = "$"

    @property
    def key(self) -> str | None:
        """The ordering key."""
        return self.attributes.get("partitionkey")


def submission(
    uri: EventUri,
    value: bytes,
    *,
    content_type: str,
    headers: Headers,
    attributes: Mapping[str, str],
    prefix: str = PREFIX,
    where: str = "$",
) -> Submission:
    """A submission from its parts, its attributes checked. Raises Malformed, naming them with `prefix` in front."""
    check_attributes(attributes, prefix)
    given = attributes.get("id")
    return Submission(
        uri=uri,
        value=value,
        content_type=content_type,
        given=given if given is not None else idempotency_key(headers),
        attributes={name: text for name, text in attributes.items() if name not in _OWN},
        traceparent=attributes.get("traceparent") or _ascii(headers.get("traceparent")),
        trace=tracing.read(headers.get("certes-trace", ""), foreign=True),
        where=where,
    )


def attributes_of(headers: Headers) -> dict[str, str]:
    """The CloudEvents attributes among HTTP headers, decoded. Raises Malformed."""
    found = {}
    for header, raw in headers.items():
        name = header.lower()
        if name.startswith(PREFIX) and _NAME.match(name, len(PREFIX)):
            found[name[len(PREFIX) :]] = _decoded(raw, header)
    return found


def media_type(header: str | None) -> str:
    """JSON or AVRO, by the content type. Raises Unsupported. Without any it is JSON, as CloudEvents has it."""
    essence, _, parameters = (header or JSON).partition(";")
    essence = essence.strip().lower()
    if essence in _AVRO_TYPES:
        return AVRO
    if essence != JSON and not (essence.startswith("application/") and essence.endswith("+json")):
        raise Unsupported(f"the body is {essence[:100]!r}; Certes takes {JSON} and {AVRO}")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise Unsupported(f"the body's charset is {charset[:100]!r}; JSON is UTF-8")
    return JSON


def idempotency_key(headers: Headers) -> str | None:
    """`Idempotency-Key` or Standard Webhooks' `webhook-id`: what a publisher repeats when it calls again."""
    header = "idempotency-key" if "idempotency-key" in headers else "webhook-id"
    raw = headers.get(header)
    return None if raw is None else checked(_unquoted(raw), header)


def checked(text: str, name: str) -> str:
    """A text that can be kept as it is. Raises Malformed naming it."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise malformed(name, "is not UTF-8") from None
    if not text:
        raise malformed(name, "is empty")
    if size > MAX_ATTRIBUTE:
        raise malformed(name, f"has {size} bytes, at most {MAX_ATTRIBUTE} are kept")
    if _CONTROL.search(text):
        raise malformed(name, "holds control characters")
    return text


def check_attributes(attributes: Mapping[str, str], prefix: str) -> None:
    """Raises Malformed for attributes that CloudEvents does not allow or Certes cannot keep."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise Malformed(f"an event has at most {MAX_ATTRIBUTES} attributes, this one {len(attributes)}")
    for name, text in attributes.items():
        checked(text, prefix + name)
    if attributes.get("specversion", "1.0") != "1.0":
        raise malformed(f"{prefix}specversion", "must be 1.0, the version of CloudEvents that Certes takes")
    try:
        from_rfc3339(attributes.get("time", "1970-01-01T00:00:00Z"))
    except (ValueError, OverflowError):
        raise malformed(f"{prefix}time", "must be an RFC 3339 time with a zone, e.g. 2026-11-24T16:03:00Z") from None


def require(attributes: Mapping[str, str], names: Iterable[str], prefix: str) -> None:
    """Raises Malformed naming all attributes that are missing."""
    absent = [prefix + name for name in names if name not in attributes]
    if absent:
        raise Malformed(f"missing: {', '.join(absent)}", tuple(Violation(path, "is missing") for path in absent))


def malformed(path: str, reason: str) -> Malformed:
    """One thing that is wrong, said with its path."""
    return Malformed(f"{path} {reason}", (Violation(path, reason),))


def _decoded(raw: str, header: str) -> str:
    """CloudEvents HTTP binding 3.1.3.2: quoted strings first, then one round of percent-decoding."""
    text = _unquoted(raw)
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Malformed(f"the header {header} is percent-encoded, but not UTF-8") from None


def _unquoted(raw: str) -> str:
    quoted = len(raw) > 1 and raw[0] == raw[-1] == '"'
    return _QUOTED_PAIR.sub(r"\1", raw[1:-1]) if quoted else raw


def _ascii(text: str | None) -> str | None:
    """Trace context is ASCII; anything else is no reason to refuse an event, and is dropped."""
    return text if text and text.isascii() and len(text) <= MAX_ATTRIBUTE else None
