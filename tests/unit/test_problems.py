from __future__ import annotations

import inspect
import logging

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from certes import errors
from certes.errors import CertesError, Fatal, Invalid, Refused, Unauthorized, Unavailable, Violation
from certes.problems import problem_middleware, problem_response

LEAVES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Refused)]


@pytest.mark.parametrize("kind", LEAVES)
def test_each_refusal_answers_with_its_status_and_reason(kind: type[Refused]) -> None:
    response = problem_response(kind("the reason"))
    document = orjson.loads(response.body)  # type: ignore[arg-type]
    assert (response.status, document["status"]) == (kind.status, kind.status)
    assert (document["title"], document["detail"]) == (kind.title, "the reason")
    assert document["type"].startswith("urn:certes:problem:")
    assert "errors" not in document
    assert response.content_type == "application/problem+json"


def test_all_that_is_wrong_is_listed_even_what_json_cannot_hold() -> None:
    response = problem_response(Invalid("no \udcff", (Violation("$.a", "is \ud800"),)))
    assert orjson.loads(response.body)["errors"] == [{"path": "$.a", "reason": "is ?"}]  # type: ignore[arg-type]


def test_headers_that_a_status_needs() -> None:
    assert problem_response(Unavailable("later", retry_after=2.1)).headers["Retry-After"] == "3"
    assert problem_response(Unavailable("soon", retry_after=0)).headers["Retry-After"] == "1"
    assert problem_response(Unauthorized("who?")).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("x"), 503), (Fatal("secret"), 500), (CertesError("secret"), 500), (ValueError("secret"), 500),
        (web.HTTPNotFound(), 404), (web.HTTPMethodNotAllowed("GET", ["POST"]), 405), (web.HTTPTooManyRequests(), 429),
        (web.RequestPayloadError("bad gzip"), 400),
    ],
)  # fmt: skip
async def test_whatever_is_raised_becomes_a_problem(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def view(_request: web.Request) -> web.Response:
        raise error

    app = web.Application(middlewares=[problem_middleware])
    app.router.add_get("/", view)
    with caplog.at_level(logging.ERROR, "certes.problems"):
        async with TestClient(TestServer(app)) as client, client.get("/") as response:
            text = await response.text()
            assert response.status == status
            assert response.content_type == "application/problem+json"
    assert "secret" not in text
    assert bool(caplog.records) == (status == 500)


async def test_redirects_pass() -> None:
    async def view(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    app = web.Application(middlewares=[problem_middleware])
    app.router.add_get("/", view)
    async with TestClient(TestServer(app)) as client, client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")
