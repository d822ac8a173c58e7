"""Whether a third party's call is genuine. Always over the raw body, in constant time, closed when in doubt.

Whatever the bytes are, the only error is Unauthorized.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterator, Mapping

from certes import signing
from certes.errors import Unauthorized
from certes.source import Hmac, Source

_PLACEHOLDER = re.compile(r"\{(body|timestamp|id)\}")
_MAX_SIGNATURES = 32

GITHUB = Hmac(header="x-hub-signature-256", prefix="sha256=")
_ID_HEADERS = {"github": "x-github-delivery", "standard": "webhook-id"}


def verify(source: Source, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Raises Unauthorized unless one of the source's secrets has signed the call. `now`: seconds since 1970.

    `headers` finds names in any case.
    """
    if source.scheme == "none":
        return
    if not source.secrets:
        raise Unauthorized("this source has no secret yet, so nothing it sends can be verified")
    if source.scheme == "standard":
        signing.verify(headers, body, keys=list(_keys(source, signing.secret_key)), now=now)
    elif source.scheme == "github":
        _verify_hmac(GITHUB, source, headers, body, now=now)
    elif source.hmac is not None:
        _verify_hmac(source.hmac, source, headers, body, now=now)
    else:
        raise Unauthorized("this source has the scheme hmac, but not its fields")


def given_id(source: Source, headers: Mapping[str, str]) -> str | None:
    """The id that the third party gives to its call, by which repeats are known; None where it gives none."""
    scheme = source.hmac.id_header if source.scheme == "hmac" and source.hmac else _ID_HEADERS.get(source.scheme)
    name = source.id_header or scheme
    return (headers.get(name) or None) if name else None


def _verify_hmac(scheme: Hmac, source: Source, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    header = headers.get(scheme.header)
    if not header:
        raise Unauthorized(f"the header {scheme.header} with the signature is missing")
    timestamp = _timestamp(scheme, headers, now=now)
    signed = _signed(scheme, timestamp=timestamp, message_id=_message_id(scheme, headers), body=body)
    expected = [_encoded(scheme, key, signed) for key in _keys(source, _decoder(scheme))]
    given = [_bytes(item) for item in _signatures(scheme, header)]
    # Every pair is compared, so that the time says nothing about which one matched.
    if not sum(hmac.compare_digest(item, want) for item in given for want in expected):
        raise Unauthorized("no signature matches: check the secret and that the body is signed as it was sent")


def _timestamp(scheme: Hmac, headers: Mapping[str, str], *, now: float) -> str:
    """The header as it was sent, "" where the scheme has none."""
    if scheme.timestamp_header is None:
        return ""
    text = headers.get(scheme.timestamp_header, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Unauthorized(f"the header {scheme.timestamp_header} must be whole seconds since 1970")
    if scheme.tolerance_seconds is not None and abs(int(text) - now) > scheme.tolerance_seconds:
        raise Unauthorized(f"{scheme.timestamp_header} is more than {scheme.tolerance_seconds:g} s from now")
    return text


def _message_id(scheme: Hmac, headers: Mapping[str, str]) -> str:
    if scheme.id_header is None or "{id}" not in scheme.signed:
        return ""
    text = headers.get(scheme.id_header)
    if not text:
        raise Unauthorized(f"the header {scheme.id_header} is missing, which is signed")
    return text


def _signed(scheme: Hmac, *, timestamp: str, message_id: str, body: bytes) -> bytes:
    """The bytes that the signature is over, the scheme's template filled in."""
    if "{body}" not in scheme.signed:
        raise Unauthorized("this source's scheme does not sign the body, so it proves nothing")
    if ("{timestamp}" in scheme.signed and not timestamp) or ("{id}" in scheme.signed and not message_id):
        raise Unauthorized("this source's scheme signs a timestamp or id, but does not say in which header it is")
    parts = {"body": body, "timestamp": timestamp.encode(), "id": _bytes(message_id)}
    # The text between placeholders stands at even places of the split, the placeholders' names at odd ones.
    pieces = _PLACEHOLDER.split(scheme.signed)
    return b"".join(parts[piece] if at % 2 else piece.encode() for at, piece in enumerate(pieces))


def _encoded(scheme: Hmac, key: bytes, signed: bytes) -> bytes:
    digest = hmac.digest(key, signed, scheme.algorithm)
    return digest.hex().encode() if scheme.encoding == "hex" else base64.b64encode(digest)


def _signatures(scheme: Hmac, header: str) -> Iterator[str]:
    """The signatures in a header, without prefix; those with another prefix are of another version."""
    items = header.split(scheme.delimiter)[:_MAX_SIGNATURES] if scheme.delimiter else [header]
    for item in items:
        text = item.strip()
        if text.startswith(scheme.prefix):
            signature = text.removeprefix(scheme.prefix)
            yield signature.lower() if scheme.encoding == "hex" else signature


def _keys(source: Source, decode: Callable[[str], bytes]) -> Iterator[bytes]:
    """The usable keys of a source. An empty one would be known to everybody, so it counts as none."""
    for secret in source.secrets:
        try:
            key = decode(secret)
        except ValueError:
            continue
        if key:
            yield key


def _decoder(scheme: Hmac) -> Callable[[str], bytes]:
    return {"utf8": _bytes, "base64": _base64, "hex": bytes.fromhex}[scheme.secret_encoding]


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
