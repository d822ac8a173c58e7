"""One call against a real receiver on loopback, and every way in which the other side can fail."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from hypothesis import given
from hypothesis import strategies as st

from certes import sender as module
from certes.attempt import Answer, Call
from certes.clock import FrozenClock
from certes.sender import Guard, Sender, describe

LOOPBACK = ("127.0.0.0/8", "::1/128")


# -- the guard

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::",  # loopback, this host
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "fc00::1", "fd12::1",  # private
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254",  # link-local, metadata
    "100.64.0.1", "100.127.255.254",  # carrier-grade NAT
    "2002:7f00:1::1", "192.88.99.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2001:0:1::1",  # 6to4, NAT64, Teredo
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",  # IPv4 in IPv6
    "fec0::1", "224.0.0.1", "ff02::1", "ff0e::1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("host", PRIVATE)
def test_addresses_that_lead_inside_are_refused(host):
    assert not Guard().permits(host)
    with pytest.raises(module.PrivateAddressError, match="allow_private"):
        Guard().socket((2, 1, 6, "", (host, 80)))


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are_permitted(host):
    assert Guard().permits(host)


def test_networks_of_ones_own_can_be_allowed():
    guard = Guard(["10.1.0.0/16", "fd12::/16"])
    assert [guard.permits(host) for host in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "10.2.0.1", "127.0.0.1")] == [
        *(True, True, True),
        *(False, False),
    ]
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        Guard(["10.0.0.1/8"])


@given(st.ip_addresses(v=4).map(str))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(host):
    guard = Guard(["10.1.0.0/16"])
    assert guard.permits(host) == guard.permits(f"::ffff:{host}")
    if not Guard().permits(host):
        assert not Guard().permits(f"::{host}")


# -- calls


@asynccontextmanager
async def sending(*allowed, clock=None, **kwargs):
    sender = Sender(guard=Guard(allowed or LOOPBACK), clock=clock or FrozenClock(), **kwargs)
    await sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


@asynccontextmanager
async def receiving(handler):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/hook"))


@asynccontextmanager
async def talking(reply, **kwargs):
    """A server that says these bytes to whoever has sent something, and hangs up."""

    async def talk(reader, writer):
        try:
            await reader.read(65_536)
            writer.write(reply)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, **kwargs)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def call(url, **kwargs):
    return Call(
        url, **{"headers": {"content-type": "application/json", "x-own": "1"}, "body": b"{}", "timeout": 5.0, **kwargs}
    )


async def answered(handler, *, headers=None, **kwargs):
    async with receiving(handler) as url, sending(**kwargs) as sender:
        return await sender.send(call(url))


async def raw(reply, **kwargs):
    async with talking(reply) as address, sending() as sender:
        return await sender.send(call(f"http://{address}/", **kwargs))


async def test_the_handler_gets_what_was_prepared_and_nothing_of_ours():
    seen = []

    async def handler(request):
        seen.append((request.method, dict(request.headers), await request.read()))
        return web.Response(status=201, text="thanks", headers={"set-cookie": "a=1"})

    async with receiving(handler) as url, sending() as sender:
        for _ in range(2):
            answer = await sender.send(call(url))
    assert (answer.status, answer.error, answer.body, answer.ok) == (201, None, b"thanks", True)
    method, headers, body = seen[1]
    assert (method, body) == ("POST", b"{}")
    names = {name.lower() for name in headers}
    assert names == {"host", "content-type", "x-own", "user-agent", "content-length"}


async def test_redirects_are_not_followed():
    called = []

    async def handler(request):
        called.append(request.path)
        return web.Response(status=307, headers={"location": "/elsewhere"})

    answer = await answered(handler)
    assert (answer.status, answer.ok, called) == (307, False, ["/hook"])
    assert "redirects are not followed" in answer.error


async def test_a_handler_that_is_too_slow_is_a_time_out():
    async def silent(request):
        await asyncio.sleep(5)

    async with receiving(silent) as url, sending() as sender:
        answer = await sender.send(call(url, timeout=0.05))
    assert answer.error == "time-out: no complete answer within 0.05 s"

    async def dripping(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b".")
            await asyncio.sleep(0.01)

    async with receiving(dripping) as url, sending() as sender:
        answer = await sender.send(call(url, timeout=0.1))
    assert (answer.status, answer.ok) == (None, False)
    assert "time-out" in answer.error


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "truncated answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "truncated answer"),
        (b"\xff\xfe garbage \x00\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 abc\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "no HTTP answer"),
        (b"", "connection closed without an answer"),
    ],
)
async def test_broken_answers_are_told_apart(reply, words):
    answer = await raw(reply)
    assert words in answer.error
    assert answer.status is None


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
def test_no_bytes_of_the_other_side_raise(reply):
    answer = asyncio.run(raw(reply, timeout=2.0))
    assert isinstance(answer, Answer)
    assert answer.ok or answer.error or answer.status is not None


async def test_nobody_there_is_a_connection_error():
    async with sending() as sender:
        answer = await sender.send(call(f"http://127.0.0.1:{unused_port()}/"))
    assert answer.error.startswith("connection error")
    assert "DNS" not in answer.error


async def test_a_name_that_does_not_exist_is_a_dns_error(monkeypatch):
    async def nothing(*args, **kwargs):
        raise OSError(None, "Domain name not found")

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", nothing)
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", aiohttp.ThreadedResolver)
    async with sending() as sender:
        answer = await sender.send(call("http://handler.invalid/"))
    assert answer.error.startswith("DNS error")


async def test_a_name_that_leads_inside_is_refused_when_it_connects(monkeypatch):
    called = []

    async def handler(request):
        called.append(1)
        return web.Response()

    async def inside(self, host, port=0, family=0):
        return [
            {"hostname": host, "host": address, "port": port, "family": kind, "proto": 6, "flags": 0}
            for address, kind in (("127.0.0.1", 2), ("::1", 10))
        ]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", inside)
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", aiohttp.ThreadedResolver)
    async with receiving(handler) as url, sending("10.0.0.0/8") as sender:
        by_name = await sender.send(call(url.replace("127.0.0.1", "innocent.example")))
        by_address = await sender.send(call(url))
        metadata = await sender.send(call("http://169.254.169.254/latest/meta-data"))
    assert called == []
    for answer in (by_name, by_address, metadata):
        assert answer.error.startswith("refused")
        assert "allow_private" in answer.error


async def test_tls_is_checked():
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with talking(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ssl=context) as address, sending() as sender:
        answer = await sender.send(call(f"https://{address}/"))
        assert answer.error.startswith("TLS error")
    async with talking(b"HTTP/1.1 200 OK\r\n\r\n") as address, sending() as sender:
        answer = await sender.send(call(f"https://{address}/"))
        assert answer.error.startswith("TLS error")


async def test_a_compressed_answer_is_kept_as_it_came():
    packed = gzip.compress(b"x" * 10_000_000)

    async def handler(request):
        return web.Response(body=packed, headers={"content-encoding": "gzip"})

    answer = await answered(handler)
    assert answer.body == packed[:4096]


@pytest.mark.parametrize(
    ("size", "limit", "kept"), [(100, 40, 40), (40, 40, 40), (10, 40, 10), (10, 0, 0), (5_000_000, 4096, 4096)]
)
async def test_an_answer_is_kept_up_to_the_limit(size, limit, kept):
    async def handler(request):
        return web.Response(body=b"x" * size)

    answer = await answered(handler, response_bytes=limit)
    assert (answer.ok, len(answer.body)) == (True, kept)


async def test_an_answer_without_end_is_cut_and_counts():
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    answer = await answered(handler)
    assert (answer.ok, len(answer.body)) == (True, 4096)


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (503, "120", 120.0),
        (429, " 0 ", 0.0),
        (429, format_datetime(datetime.fromtimestamp(1_700_000_090, UTC), usegmt=True), 90.0),
        (429, format_datetime(datetime.fromtimestamp(1_600_000_000, UTC), usegmt=True), 0.0),
        (503, "9" * 40, 999_999_999.0),
        (503, "soon", None),
        (503, "-5", None),
        (503, "1.5", None),
        (503, "Feb 0 00:00:00 GMT +99999999999999 GMT EST Jan", None),
        (503, "", None),
        (500, "120", None),
        (200, "120", None),
    ],
)
async def test_retry_after(status, value, seconds):
    async def handler(request):
        return web.Response(status=status, headers={"retry-after": value})

    assert (await answered(handler)).retry_after == seconds


async def test_connections_are_kept():
    peers = set()

    async def handler(request):
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with receiving(handler) as url, sending() as sender:
        for _ in range(5):
            await sender.send(call(url))
    assert len(peers) == 1


@pytest.mark.parametrize("headers", [{"x": "a\r\nevil: 1"}, {"x\r\n": "a"}])
async def test_no_header_is_ever_injected(headers):
    async with talking(b"HTTP/1.1 200 OK\r\n\r\n") as address, sending() as sender:
        answer = await sender.send(call(f"http://{address}/", headers=headers))
    assert not answer.ok


async def test_it_says_so_when_it_was_not_started():
    sender = Sender(guard=Guard(), clock=FrozenClock())
    await sender.stop()
    with pytest.raises(RuntimeError, match="not been started"):
        await sender.send(call("http://127.0.0.1/"))


def test_any_other_error_has_words():
    assert describe(OSError()) == "connection error: OSError"
    assert describe(aiohttp.InvalidURL("http://")).startswith("connection error")
    assert describe(module.PrivateAddressError("x")) == "refused: x"
