from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from certes.access import cluster_token
from certes.config import ConfigLog, encode
from certes.internal import internal_routes
from certes.problems import problem_middleware

KEY = b"k" * 32
TOKEN = {"authorization": f"Bearer {cluster_token(KEY)}"}


@pytest.fixture
async def client() -> Any:
    log = ConfigLog(kafka="", topic="config", on_fatal=lambda _: None)
    log.config.apply("priority/global", encode({"priority": 1}), 7)
    app = web.Application(middlewares=[problem_middleware])
    app.router.add_routes(internal_routes(log, KEY, lambda: 1.5))
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("path", ["/internal/config", "/internal/lag"])
async def test_only_for_the_cluster(client: Any, path: str) -> None:
    assert (await client.get(path)).status == 401
    assert (await client.get(path, headers={"authorization": "Bearer key_x"})).status == 401


async def test_what_has_been_read(client: Any) -> None:
    answer = await client.get("/internal/config?offset=7&seconds=5", headers=TOKEN)
    assert await answer.json() == {"reached": True, "offset": 7}
    answer = await client.get("/internal/config?offset=8&seconds=0.05", headers=TOKEN)
    assert await answer.json() == {"reached": False, "offset": 7}


async def test_lag(client: Any) -> None:
    assert await (await client.get("/internal/lag", headers=TOKEN)).json() == {"lag_seconds": 1.5}


@pytest.mark.parametrize("query", ["offset=x", "seconds=nan", "offset=1e400", "seconds=-inf", "offset="])
async def test_wrong_numbers(client: Any, query: str) -> None:
    assert (await client.get(f"/internal/config?{query}", headers=TOKEN)).status == 400


async def test_without_lag_there_is_no_such_path() -> None:
    log = ConfigLog(kafka="", topic="config", on_fatal=lambda _: None)
    assert [route.path for route in internal_routes(log, KEY, None)] == ["/internal/config"]
