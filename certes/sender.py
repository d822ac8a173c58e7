"""Sends one signed call. Private addresses are refused where the connection is made, so that DNS cannot lie."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from certes.attempt import Answer, Call
from certes.clock import Clock

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: What Python does not call private but may lead inside: CGNAT, 6to4, NAT64, benchmarking, IPv4-compatible, site-local.
_INSIDE = [
    ipaddress.ip_network(text)
    for text in (
        *("100.64.0.0/10", "192.88.99.0/24", "198.18.0.0/15"),
        *("2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "fec0::/10"),
    )
]


class PrivateAddressError(OSError):
    """The handler's name leads to an address inside the network of Certes."""


class Guard:
    """Decides which addresses handlers may have. `allowed` are networks of one's own, in CIDR notation."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed: list[_Network] = [ipaddress.ip_network(text) for text in allowed]

    def permits(self, host: str) -> bool:
        address = _plain(ipaddress.ip_address(host.partition("%")[0]))
        if any(address in network for network in self._allowed):
            return True
        return address.is_global and not address.is_multicast and not any(address in network for network in _INSIDE)

    def socket(self, address: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """The socket for one resolved address, the last moment before it connects. Raises PrivateAddressError."""
        family, kind, protocol, _, target = address
        if not self.permits(str(target[0])):
            # The same words for each address of a name, or they would come back as one error of no kind.
            raise PrivateAddressError("its address is a private one; delivery.allow_private can allow its network")
        return socket.socket(family, kind, protocol)


def _plain(address: _Address) -> _Address:
    """IPv4 in IPv6 is judged as the IPv4 address that it reaches."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Sender:
    """One HTTP client for all handlers: keep-alive, no redirects, no cookies, answers read up to a limit."""

    def __init__(self, *, guard: Guard, clock: Clock, response_bytes: int = 4096) -> None:
        self._guard = guard
        self._clock = clock
        self._limit = response_bytes
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, socket_factory=self._guard.socket, ttl_dns_cache=30)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"user-agent": "Certes"},
            skip_auto_headers=("accept", "accept-encoding"),
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, call: Call) -> Answer:
        """Call the handler. Never raises for what the other side does: each failure is an Answer in words."""
        if self._session is None:
            raise RuntimeError("the sender has not been started")
        try:
            async with (
                asyncio.timeout(call.timeout),
                self._session.post(call.url, data=call.body, headers=call.headers, allow_redirects=False) as response,
            ):
                body = await self._read(response)
                return Answer(response.status, _refusal(response), self._retry_after(response), body)
        except TimeoutError:
            return Answer(error=f"time-out: no complete answer within {call.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(error=describe(error))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The beginning of the body; the rest is read away up to 1 MiB, so that the connection can be kept."""
        kept = bytearray()
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            kept += chunk[: self._limit - len(kept)]
            if size > 1 << 20:
                response.close()
                break
        return bytes(kept)

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        value = response.headers.get("retry-after", "").strip()
        if response.status not in (429, 503) or not value:
            return None
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            return max(parsedate_to_datetime(value).timestamp() - self._clock.now(), 0.0)
        except (ValueError, OverflowError):
            return None  # neither seconds nor a date: as if it were not there


def _refusal(response: aiohttp.ClientResponse) -> str | None:
    if 300 <= response.status < 400:
        return f"answered {response.status}: redirects are not followed"
    return None


def describe(error: Exception) -> str:
    """The failure in words that tell the kinds apart: DNS, TLS, refused connection, truncated answer ..."""
    if isinstance(error, PrivateAddressError):
        return f"refused: {error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return f"DNS error: {error}"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | aiohttp.ServerFingerprintMismatch):
        return f"TLS error: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        return f"refused: {inner}" if isinstance(inner, PrivateAddressError) else f"connection error: {inner}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"truncated answer: {error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection closed without an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"no HTTP answer: {error.message}"
    return f"connection error: {str(error) or type(error).__name__}"
