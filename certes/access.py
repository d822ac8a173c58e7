"""Who is calling, and what they may do: API keys, roles, and the token by which our own processes call each other."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certes.clock import from_rfc3339
from certes.config import Config
from certes.errors import Forbidden, Unauthorized

RESOURCES = ("subscriptions", "events", "backoffs", "config", "schemas", "access")
ROLES = ("admin", *(f"{resource}:{right}" for resource in RESOURCES for right in ("read", "write")))
KEY_PREFIX = "key_"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: an API key's name, a source or a process, with its roles."""

    name: str
    roles: frozenset[str]

    def may(self, role: str) -> bool:
        return "admin" in self.roles or role in self.roles

    def require(self, role: str) -> None:
        """Raises Forbidden when the role is missing."""
        if not self.may(role):
            raise Forbidden(f"{self.name} lacks the role {role}")


ADMIN = frozenset({"admin"})


def new_key() -> str:
    """An API key: `key_` and 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """What is stored of a key. Keys are random and long, so a plain hash is enough and cheap on each request."""
    return hashlib.sha256(_bytes(key)).hexdigest()


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def authenticate(token: str | None, *, admin_key: str, keys: Mapping[str, Mapping[str, Any]], now: float) -> Actor:
    """The actor of a key. `keys` are stored ones by `key_hash`: `{"name", "roles", "expires_at"}`.

    Raises Unauthorized for none, an unknown or an expired one.
    """
    if not token:
        raise Unauthorized("an API key is needed: Authorization: Bearer key_...")
    if admin_key and hmac.compare_digest(_bytes(token), _bytes(admin_key)):
        return Actor("admin", ADMIN)
    stored = keys.get(key_hash(token))
    if stored is None or (stored.get("expires_at") and from_rfc3339(stored["expires_at"]) <= now):
        raise Unauthorized("this API key is unknown, expired or revoked")
    return Actor(str(stored["name"]), frozenset(stored["roles"]))


def cluster_token(cluster_key: bytes) -> str:
    """The token by which workers and gateways call each other; derived, so that the cluster's key never travels."""
    return hmac.new(cluster_key, b"certes internal calls", hashlib.sha256).hexdigest()


def is_cluster(token: str | None, cluster_key: bytes) -> bool:
    """Whether a token is the cluster's. Without a key nothing is: everybody can compute the token of none."""
    if token is None or not cluster_key:
        return False
    return hmac.compare_digest(_bytes(token), cluster_token(cluster_key).encode())


def keys_by_hash(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """The stored API keys as `authenticate` wants them. An entry's value has `hash`, `name`, `roles`, `expires_at`."""
    return {entry.value["hash"]: entry.value for entry in config.entries["key"].values()}


def _bytes(token: str) -> bytes:
    """Any header text as bytes; what is no UTF-8 is compared like all else, and equals nothing."""
    return token.encode("utf-8", "surrogatepass")
