from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.cli.client import Answer, Client, refusal
from certes.errors import Refused, Unauthorized, Unavailable, UriError
from tests.apps.command import run

URI = "events.meetly.com/shop/1/payment"


class Gateway(ThreadingHTTPServer):
    """Answers what it is told to, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def will_answer(self, status: int, document: Any, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers.append((status, headers, body))


class Answering(BaseHTTPRequestHandler):
    server: Gateway

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        status, given, answer = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in given.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    server = Gateway()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class TestEnvironment:
    def test_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CERTES_URL", raising=False)
        monkeypatch.setenv("CERTES_API_KEY", "key_1")
        assert Client.from_environment() == Client("http://127.0.0.1:9600", "key_1")

    def test_an_events_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CERTES_URL", "events://events.meetly.com")
        monkeypatch.setenv("CERTES_API_KEY", "key_1")
        assert Client.from_environment().url == "http://events.meetly.com:9600"

    def test_an_address_that_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CERTES_URL", "ftp://here")
        monkeypatch.setenv("CERTES_API_KEY", "key_1")
        with pytest.raises(UriError, match="gateway address"):
            Client.from_environment()

    def test_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CERTES_API_KEY", raising=False)
        with pytest.raises(Unauthorized, match="CERTES_API_KEY is not set"):
            Client.from_environment()


class TestCalls:
    def test_what_is_sent(self, gateway: Gateway) -> None:
        gateway.will_answer(200, {"ok": True})
        client = Client(gateway.url, "key_1")
        assert client.get("/api/events", {"q": "a b&c", "uri": None, "limit": 3}).json() == {"ok": True}
        ((method, path, headers, body),) = gateway.asked
        assert (method, headers["authorization"], body) == ("GET", "Bearer key_1", b"")
        assert parse_qs(urlsplit(path).query) == {"q": ["a b&c"], "limit": ["3"]}

    def test_a_document(self, gateway: Gateway) -> None:
        gateway.will_answer(201, {}, certes_unread="worker-2")
        answer = Client(gateway.url, "k").send("PUT", "/api/sources/x", {"a": 1}, headers={"if-none-match": "*"})
        assert answer.unread == "worker-2"
        ((_, _, headers, body),) = gateway.asked
        assert (headers["content-type"], headers["if-none-match"], body) == ("application/json", "*", b'{"a":1}')

    def test_a_path_stays_one(self, gateway: Gateway) -> None:
        gateway.will_answer(200, {})
        Client(gateway.url, "k").get("/api/events/a?b#c/../ü d")
        assert gateway.asked[0][1] == "/api/events/a%3Fb%23c/../%C3%BC%20d"

    def test_a_list_of_several_pages(self, gateway: Gateway) -> None:
        gateway.will_answer(200, {"items": [1, 2], "next": "abc"})
        gateway.will_answer(200, {"items": [3], "next": None})
        assert Client(gateway.url, "k").items("/api/keys") == [1, 2, 3]
        assert parse_qs(urlsplit(gateway.asked[1][1]).query) == {"limit": ["1000"], "cursor": ["abc"]}

    def test_a_problem(self, gateway: Gateway) -> None:
        problem = {"title": "Invalid", "detail": "1 thing is wrong", "errors": [{"path": "$.uri", "reason": "no"}]}
        gateway.will_answer(422, problem)
        with pytest.raises(Refused, match="Invalid: 1 thing is wrong") as caught:
            Client(gateway.url, "k").get("/")
        assert [(one.path, one.reason) for one in caught.value.errors] == [("$.uri", "no")]

    def test_nobody_there(self, gateway: Gateway) -> None:
        gateway.shutdown()
        gateway.server_close()
        with pytest.raises(Unavailable, match=f"no gateway at {gateway.url}"):
            Client(gateway.url, "k").get("/")

    def test_an_answer_that_is_no_json(self, gateway: Gateway) -> None:
        gateway.will_answer(200, b"<html>")
        with pytest.raises(Unavailable, match="is CERTES_URL the address of a gateway"):
            Client(gateway.url, "k").get("/").json()


class TestRefusal:
    def test_of_something_else_than_certes(self) -> None:
        assert str(refusal(404, "Not Found", Answer(b"<html>"))) == "HTTP 404 Not Found"

    def test_that_passes(self) -> None:
        assert isinstance(refusal(503, "x", Answer(b'{"title": "Unavailable", "detail": "starting"}')), Unavailable)

    @given(
        st.binary()
        | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
    )
    def test_any_bytes_are_an_error_with_words(self, body: bytes) -> None:
        assert str(refusal(500, "Oops", Answer(body)))


class TestSend:
    def test_json_from_standard_input(self, gateway: Gateway) -> None:
        gateway.will_answer(202, {"id": "evt_1", "uri": URI})
        sent = run("send", URI, stdin=b'{"cents": 1}', CERTES_URL=gateway.url)
        assert (sent.code, sent.out, sent.err) == (0, "evt_1\n", "")
        ((method, path, headers, body),) = gateway.asked
        assert (method, path, body) == ("POST", f"/events/{URI}", b'{"cents": 1}')
        assert headers["content-type"] == "application/json"
        assert not [name for name in headers if name.startswith("ce-")]

    def test_a_file_of_avro(self, gateway: Gateway, tmp_path: Any) -> None:
        gateway.will_answer(202, {"id": "evt_2", "uri": URI})
        (tmp_path / "event").write_bytes(b"\x00\x01\xff")
        sent = run("send", URI, str(tmp_path / "event"), "--avro", CERTES_URL=gateway.url)
        assert sent.out == "evt_2\n"
        assert gateway.asked[0][2]["content-type"] == "application/avro"
        assert gateway.asked[0][3] == b"\x00\x01\xff"

    def test_attributes_are_encoded_as_cloudevents_has_it(self, gateway: Gateway) -> None:
        gateway.will_answer(202, {"id": "evt_3", "uri": URI})
        sent = run("send", URI, "--key", "Müller 100%", "--id", 'a"b', "--source", "/shop?x=1", CERTES_URL=gateway.url)
        assert sent.code == 0
        headers = gateway.asked[0][2]
        assert headers["ce-partitionkey"] == "M%C3%BCller%20100%25"
        assert (headers["ce-id"], headers["ce-source"]) == ("a%22b", "/shop?x=1")

    def test_a_refusal(self, gateway: Gateway) -> None:
        errors = [{"path": "$.cents", "reason": "must be a long"}, {"path": "$.order", "reason": "is missing"}]
        gateway.will_answer(422, {"title": "Invalid", "detail": "against its schema", "errors": errors})
        sent = run("send", URI, stdin=b"{}", CERTES_URL=gateway.url)
        assert (sent.code, sent.out) == (1, "")
        assert sent.err == "Invalid: against its schema\n$.cents: must be a long\n$.order: is missing\n"

    def test_wrong_usage(self, tmp_path: Any) -> None:
        bad_uri = run("send", "not-an-uri")
        assert (bad_uri.code, "no event URI" in bad_uri.err) == (2, True)
        assert run("send", URI, str(tmp_path / "nothing")).code == 2

    def test_without_a_key(self) -> None:
        sent = run("send", URI, CERTES_API_KEY="")
        assert (sent.code, sent.err.count("\n")) == (1, 1)

    def test_without_a_gateway(self) -> None:
        sent = run("send", URI, stdin=b"{}", CERTES_URL="http://127.0.0.1:9")
        assert (sent.code, sent.err.count("\n"), "Traceback" in sent.err) == (1, 1, False)
