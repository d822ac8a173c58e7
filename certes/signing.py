"""Signatures: Standard Webhooks v1 for what goes to handlers and comes from publishers, HMAC for our own records."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from certes.errors import Unauthorized

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix, no secret
TOLERANCE_SECONDS = 300.0


def new_secret() -> str:
    """A secret as Standard Webhooks writes it: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_key(secret: str) -> bytes:
    """The key bytes of a Standard Webhooks secret, with or without prefix. Raises ValueError when it is no base64."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError("a secret is whsec_ and base64, e.g. whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") from None
    if not key:
        raise ValueError("a secret must not be empty")
    return key


def sign(keys: Iterable[bytes], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1,` item per key (Standard Webhooks 1.0, symmetric)."""
    signed = b"%b.%d.%b" % (message_id.encode("utf-8", "surrogateescape"), timestamp, body)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)


def verify(headers: Mapping[str, str], body: bytes, *, keys: Sequence[bytes], now: float) -> None:
    """Check a Standard Webhooks v1 signature. `headers` are lower-case. Raises Unauthorized, and nothing else."""
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    signature = headers.get("webhook-signature", "")
    if not (message_id and stamp and signature):
        raise Unauthorized("webhook-id, webhook-timestamp and webhook-signature are needed for a signed call")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 15):
        raise Unauthorized("webhook-timestamp must be whole seconds since 1970")
    if abs(int(stamp) - now) > TOLERANCE_SECONDS:
        raise Unauthorized("webhook-timestamp is more than five minutes from now; check the sender's clock")
    try:
        expected = [sign([key], message_id=message_id, timestamp=int(stamp), body=body).encode() for key in keys]
        given = [item.encode("utf-8", "surrogateescape") for item in signature.split()]
    except UnicodeEncodeError:
        raise Unauthorized("webhook-id and webhook-signature must be text that a header can hold") from None
    # Every pair is compared, so that the time says nothing about which one matched.
    if not sum(hmac.compare_digest(item, want) for item in given for want in expected):
        raise Unauthorized("no signature matches: check the secret and that the body is signed as it was sent")


def record_mac(key: bytes, headers: Iterable[tuple[str, bytes]], value: bytes) -> bytes:
    """HMAC-SHA256 of an own record: its headers but the MAC itself, in order of name, then its value.

    Lengths stand before each part, so that no two different records give the same bytes.
    """
    ordered = sorted(headers, key=itemgetter(0))  # by name alone: the order of repeats counts
    parts = [
        b"%d:%b%d:%b" % (len(encoded), encoded, len(content), content)
        for name, content in ordered
        for encoded in (name.encode("utf-8", "surrogatepass"),)
    ]
    return hmac.digest(key, b"".join((*parts, b"#", value)), "sha256")
