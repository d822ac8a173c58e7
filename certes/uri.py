"""Event URIs, `domain/namespace/version/event`, read from the right, and the patterns of subscriptions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from certes.errors import UriError

DEFAULT_NAMESPACE = "_"
GATEWAY_PORT = 9600
MAX_PORT = 65_535
MAX_NESTING = 128
MAX_LENGTH = 2048

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?\Z")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_VERSION = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(?::(?P<port>[0-9]{1,5}))?/?\Z")
_HTTP = re.compile(r"https?://[^/\s]+(?:/\S*)?\Z")


@dataclass(frozen=True, slots=True, order=True)
class EventUri:
    """One event of one major version, e.g. `community.certes.dev/github/repo/1/push`."""

    domain: str
    namespace: str
    version: int
    event: str

    @classmethod
    def parse(cls, text: str) -> EventUri:
        """Read an event URI. Raises UriError with the reason."""
        return _parse(text)

    def __str__(self) -> str:
        return f"{self.domain}/{self.namespace}/{self.version}/{self.event}"


@dataclass(frozen=True, slots=True)
class UriPattern:
    """What a subscription names: an event URI, or a prefix that ends in `/*` and stands for all below it."""

    text: str
    prefix: str | None

    @classmethod
    def parse(cls, text: str) -> UriPattern:
        """Read a pattern. `a.dev/github/1/*` matches the events of one version, `a.dev/github/*` all of the
        namespace and those nested in it. Raises UriError with the reason.
        """
        if not text.endswith("/*"):
            return cls(str(EventUri.parse(text)), None)
        _check_length(text)
        prefix = text[:-1]
        domain, *parts = prefix[:-1].split("/")
        _check_domain(domain, text)
        for part in parts:
            _check_part(part, text)
        return cls(prefix + "*", prefix)

    def matches(self, uri: EventUri) -> bool:
        return str(uri) == self.text if self.prefix is None else str(uri).startswith(self.prefix)

    def __str__(self) -> str:
        return self.text


def gateway_url(text: str) -> str:
    """The HTTP address of a gateway: `events://host[:port]` (default port 9600), or an http(s) URL as it is."""
    if _HTTP.match(text):
        return text.rstrip("/")
    address = _HOST.match(text.removeprefix("events://")) if text.startswith("events://") else None
    if address is None:
        raise UriError(f"{text!r} is no gateway address: write events://host[:port] or https://host")
    port = int(address["port"] or GATEWAY_PORT)
    if not 1 <= port <= MAX_PORT:
        raise UriError(f"{text!r} is no gateway address: a port is 1 to {MAX_PORT}, not {port}")
    return f"http://{address['host']}:{port}"


@lru_cache(maxsize=65_536)
def _parse(text: str) -> EventUri:
    _check_length(text)
    parts = text.split("/")
    if len(parts) < 4:
        raise UriError(f"{text!r} is no event URI: write domain/namespace/version/event, with _ as default namespace")
    domain, *names, version, event = parts
    _check_domain(domain, text)
    if len(names) > MAX_NESTING:
        raise UriError(f"a namespace nests at most {MAX_NESTING} deep, this one {len(names)}")
    for name in names:
        _check_part(name, text)
    if not _VERSION.match(version):
        raise UriError(f"{text!r}: the part before the event name is the major version, a number, not {version!r}")
    _check_part(event, text)
    return EventUri(domain, "/".join(names), int(version), event)


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise UriError(f"an event URI has at most {MAX_LENGTH} characters, this one {len(text)}")


def _check_domain(domain: str, text: str) -> None:
    if not _DOMAIN.match(domain):
        raise UriError(f"{text!r}: {domain!r} is no domain (lower-case letters, digits, dots, hyphens)")


def _check_part(part: str, text: str) -> None:
    if not _PART.match(part):
        raise UriError(f"{text!r}: {part!r} is no name (letters, digits, _ . -, not starting with . or -)")
