"""CloudEvents over HTTP: the binary, structured and batched modes of the HTTP protocol binding 1.0."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, TypeVar

import msgspec
import orjson

from certes.errors import Malformed, Refused, TooLarge, Unsupported, UriError, Violation
from certes.gateway.submission import Headers, Submission, attributes_of, malformed, media_type, require, submission
from certes.uri import EventUri

REQUIRED = ("specversion", "id", "source", "type")
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_BATCH = 10_000

T = TypeVar("T")
#: A member of an event as its bytes in the body: the payload is passed on as it was sent, to the last digit.
Members = dict[str, msgspec.Raw]
_OBJECT = msgspec.json.Decoder(Members)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def mode_of(headers: Headers) -> str:
    """STRUCTURED, BATCH, or "" for binary mode. Raises Unsupported for other formats, Malformed for no CloudEvent."""
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence in (STRUCTURED, BATCH):
        return essence
    if essence.startswith("application/cloudevents"):
        raise Unsupported(f"the body is {essence[:100]!r}; of CloudEvents' formats Certes takes JSON")
    if "ce-type" not in headers and "ce-specversion" not in headers:
        raise Malformed("no CloudEvent: POST /events takes CloudEvents, POST /events/{event URI} plain JSON")
    return ""


def binary(headers: Headers, body: bytes) -> Submission:
    """An event whose attributes are headers and whose payload is the body. Raises Refused."""
    attributes = attributes_of(headers)
    require(attributes, REQUIRED, "ce-")
    uri = _uri(attributes["type"], "ce-type")
    content_type = media_type(headers.get("content-type"))
    return submission(uri, body, content_type=content_type, headers=headers, attributes=attributes)


def structured(headers: Headers, body: bytes, where: str = "$") -> Submission:
    """An event that is one JSON object, at the JSON path `where` of the request. Raises Refused."""
    media_type(headers.get("content-type"))
    members = _read(_OBJECT, body, where)
    texts = ((name, _text(name, raw, where)) for name, raw in members.items() if name not in ("data", "data_base64"))
    attributes = {name: text for name, text in texts if text is not None}
    require(attributes, REQUIRED, f"{where}.")
    return submission(
        _uri(attributes["type"], f"{where}.type"),
        _data(members, where),
        content_type=media_type(attributes.get("datacontenttype")),
        headers=headers,
        attributes=attributes,
        prefix=f"{where}.",
        where=f"{where}.data",
    )


def batch(headers: Headers, body: bytes) -> list[Submission]:
    """All events of a JSON array, or none: the errors of all that cannot be read. Raises Refused."""
    media_type(headers.get("content-type"))
    items = _read(_ARRAY, body, "$")
    if len(items) > MAX_BATCH:
        raise TooLarge(f"a batch has at most {MAX_BATCH} events, this one {len(items)}")
    read: list[Submission] = []
    refused: list[tuple[str, Refused]] = []
    for at, item in enumerate(items):
        try:
            read.append(structured(headers, bytes(item), f"$[{at}]"))
        except Refused as error:
            refused.append((f"$[{at}]", error))
    raise_all(refused, len(items))
    return read


def raise_all(refused: list[tuple[str, Refused]], count: int) -> None:
    """One error for all that is wrong with a batch, of the first one's kind; nothing for none."""
    if not refused:
        return
    violations = [one for where, error in refused for one in error.errors or (Violation(where, str(error)),)]
    detail = f"{len(refused)} of {count} events cannot be taken, so none has been"
    raise type(refused[0][1])(detail, tuple(violations[:1000]))


def _read(decoder: msgspec.json.Decoder[T], body: bytes, where: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(where, f"is no CloudEvent in JSON: {error}") from error


def _text(name: str, raw: msgspec.Raw, where: str) -> str | None:
    """An attribute as text; null stands for none. Its name must fit into a header."""
    if not (name.isascii() and name.isalnum() and name == name.lower()) or len(name) > 64:
        raise malformed(where, f"has {name[:64]!r}: names of attributes are lower-case letters and digits")
    value = _json(raw, f"{where}.{name}")
    if isinstance(value, bool):
        return str(value).lower()
    if value is not None and not isinstance(value, str | int):
        raise malformed(f"{where}.{name}", "must be text")
    return None if value is None else str(value)


def _data(members: Members, where: str) -> bytes:
    """The payload as it stands in the body, or as base64 holds it."""
    if "data_base64" not in members:
        return bytes(members["data"]) if "data" in members else b""
    if "data" in members:
        raise malformed(where, "has data and data_base64, which exclude each other")
    try:
        return b64decode(_json(members["data_base64"], f"{where}.data_base64"), validate=True)
    except (ValueError, TypeError):
        raise malformed(f"{where}.data_base64", "is no base64") from None


def _json(raw: msgspec.Raw, where: str) -> Any:
    try:
        return orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise malformed(where, f"is no JSON: {error}") from error


def _uri(text: str, path: str) -> EventUri:
    try:
        return EventUri.parse(text)
    except UriError as error:
        raise UriError(str(error), (Violation(path, str(error)),)) from None
