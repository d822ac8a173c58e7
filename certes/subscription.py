"""A subscription: a subscriber's wish for events matching an event URI, and where they go."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from certes.backoff import Policy
from certes.clock import rfc3339
from certes.filters import compile_filter
from certes.uri import UriPattern

Priority = Annotated[int, Field(ge=0, le=9)]
DEFAULT_PRIORITY = 4
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_OURS = ("webhook-", "certes-", "ce-")
_FORBIDDEN = frozenset({
    "host", "content-length", "content-type", "transfer-encoding", "connection", "traceparent",
    "expect", "upgrade", "te", "trailer", "keep-alive",
})  # fmt: skip


class Destination(BaseModel):
    """Where deliveries go: an http or https address, with headers of the subscriber's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["http"] = "http"
    url: Annotated[str, Field(max_length=2048)]
    headers: dict[str, Annotated[str, Field(max_length=4096)]] = {}

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        # urlsplit drops line breaks in silence; whoever calls the address later does not.
        if _UNPRINTABLE.search(url):
            raise ValueError("must not hold spaces or control characters")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("must not hold a password: use destination.headers")
        parts.port  # noqa: B018 - raises ValueError when it is none
        return url

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.match(name) or any(ord(char) < 32 or ord(char) == 127 for char in value):
                raise ValueError(f"{name!r} is no HTTP header")
            if name.lower().startswith(_OURS) or name.lower() in _FORBIDDEN:
                raise ValueError(f"{name!r} is set by Certes itself")
        return headers


class Subscription(BaseModel):
    """What the Master API takes and the configuration keeps. Durations are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str
    destination: Destination
    filter: Annotated[str, Field(max_length=4096)] | None = None
    priority: Priority | None = None
    backoff: Policy | None = None
    ordered: bool = False
    on_exhausted: Literal["skip", "block"] = "skip"
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 32
    rate_per_second: Annotated[float, Field(gt=0, le=100_000)] | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 15.0
    format: Literal["json", "avro"] = "json"
    enabled: bool = True
    paused_until: AwareDatetime | None = None
    description: Annotated[str, Field(max_length=4096)] = ""

    @field_validator("uri")
    @classmethod
    def _is_pattern(cls, uri: str) -> str:
        return str(UriPattern.parse(uri))

    @field_validator("filter")
    @classmethod
    def _compiles(cls, expression: str | None) -> str | None:
        if expression is not None:
            compile_filter(expression)
        return expression

    @field_validator("paused_until")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return None if moment is None else datetime.fromtimestamp(moment.timestamp(), UTC)

    def held(self, now: float) -> bool:
        """Whether its deliveries wait: disabled, or paused at `now` (seconds since 1970)."""
        return not self.enabled or (self.paused_until is not None and self.paused_until.timestamp() > now)


class Secret(BaseModel):
    """A signing secret of a subscription; times are RFC 3339. Without `expires_at` it is the current one."""

    secret: Annotated[str, Field(repr=False)]
    created_at: str
    expires_at: str | None = None

    def valid(self, now: float) -> bool:
        return self.expires_at is None or rfc3339(now) < self.expires_at


class StoredSubscription(BaseModel):
    """A subscription in the configuration: what was asked for, its id, its secrets and when it was made."""

    id: str
    created_at: str
    updated_at: str
    secrets: tuple[Secret, ...]
    spec: Subscription

    def public(self) -> dict[str, Any]:
        """What the Master API shows: everything but the secrets."""
        return {"id": self.id, **self.spec.model_dump(mode="json"), "created_at": self.created_at,
                "updated_at": self.updated_at}  # fmt: skip
