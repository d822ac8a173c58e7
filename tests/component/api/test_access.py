"""Who may call, and when the Master API answers at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.apps.master import (
    MasterWorker,
    call,
    made,
    row,
)


class TestAccess:
    @pytest.mark.parametrize("path", ["/api/subscriptions", "/api/events", "/api/stats", "/api/tables/events"])
    async def test_nobody_reads_without_a_key(self, one: MasterWorker, path: str) -> None:
        answer = await call(one, "GET", path, key=None)
        assert answer.status == 401
        assert answer.json["title"] == "Unauthorized"

    async def test_a_key_has_its_roles_and_no_others(self, one: MasterWorker) -> None:
        key = (await call(one, "POST", "/api/keys", {"name": "reader", "roles": ["events:read"]})).json["key"]
        assert (await call(one, "GET", "/api/events", key=key)).status == 200
        assert (await call(one, "GET", "/api/subscriptions", key=key)).status == 403
        assert (await call(one, "POST", f"/api/events/{row(1).id}/retry", key=key)).status == 403

    async def test_secrets_are_for_who_may_change_them(self, one: MasterWorker) -> None:
        key = (await call(one, "POST", "/api/keys", {"name": "r", "roles": ["subscriptions:read"]})).json["key"]
        identifier = (await made(one))["id"]
        assert (await call(one, "GET", f"/api/subscriptions/{identifier}", key=key)).status == 200
        assert (await call(one, "GET", f"/api/subscriptions/{identifier}/secrets", key=key)).status == 403

    async def test_an_unknown_path_and_a_wrong_method_are_problems(self, one: MasterWorker) -> None:
        assert (await call(one, "GET", "/api/nothing")).json["status"] == 404
        assert (await call(one, "DELETE", "/api/events")).json["status"] == 405

    async def test_the_hop_header_alone_makes_nobody_a_worker(self, one: MasterWorker) -> None:
        headers = {"certes-hop": "1", "certes-actor": "admin"}
        assert (await call(one, "GET", "/api/events", key="key_wrong", headers=headers)).status == 401


class TestHealth:
    async def test_ready(self, one: MasterWorker) -> None:
        assert (await call(one, "GET", "/healthz", key=None)).status == 200
        answer = await call(one, "GET", "/readyz", key=None)
        assert (answer.status, answer.json) == (200, {"ok": True, "components_unavailable": []})

    async def test_recovering(self, one: MasterWorker) -> None:
        one.status = replace(one.status, ready=False, recovery={"partitions_left": 3})
        assert (await call(one, "GET", "/healthz", key=None)).status == 200
        ready = await call(one, "GET", "/readyz", key=None)
        assert (ready.status, ready.json["recovery"]) == (503, {"partitions_left": 3})
        refused = await call(one, "GET", "/api/events")
        assert refused.status == 503
        assert "partitions_left 3" in refused.json["detail"]
        assert int(refused.headers["retry-after"]) >= 1

    async def test_a_component_that_does_not_answer_is_named(self, one: MasterWorker) -> None:
        one.status = replace(one.status, unavailable=("registry",))
        answer = await call(one, "GET", "/readyz", key=None)
        assert (answer.status, answer.json["components_unavailable"]) == (503, ["registry"])
        assert (await call(one, "GET", "/api/events")).status == 200


class TestKeys:
    async def test_made_shown_once_revoked(self, one: MasterWorker) -> None:
        made = await call(one, "POST", "/api/keys", {"name": "shop", "roles": ["events:write", "events:read"]})
        assert made.status == 201
        key, identifier = made.json["key"], made.json["id"]
        for path in ("/api/keys", f"/api/keys/{identifier}", "/api/tables/keys"):
            body = (await call(one, "GET", path)).body
            assert identifier.encode() in body
            assert key.encode() not in body
            assert b"hash" not in body
        assert (await call(one, "GET", "/api/events", key=key)).status == 200
        assert (await call(one, "DELETE", f"/api/keys/{identifier}")).status == 204
        assert (await call(one, "GET", "/api/events", key=key)).status == 401

    async def test_a_key_expires(self, one: MasterWorker) -> None:
        wanted = {"name": "a", "roles": ["events:read"], "expires_at": "2023-11-14T22:13:30+00:00"}
        key = (await call(one, "POST", "/api/keys", wanted)).json["key"]
        assert (await call(one, "GET", "/api/events", key=key)).status == 200
        one.bus.clock.move(11)
        assert (await call(one, "GET", "/api/events", key=key)).status == 401
        assert (await call(one, "POST", "/api/keys", wanted)).status == 422

    async def test_nobody_gives_roles_they_lack(self, one: MasterWorker) -> None:
        wanted = {"name": "keys", "roles": ["access:write"]}
        key = (await call(one, "POST", "/api/keys", wanted)).json["key"]
        assert (await call(one, "POST", "/api/keys", wanted, key=key)).status == 201
        assert (await call(one, "POST", "/api/keys", {"name": "a", "roles": ["admin"]}, key=key)).status == 403

    @pytest.mark.parametrize("change", [{"roles": []}, {"roles": ["events:all"]}, {"name": ""}, {"expires_at": "soon"}])
    async def test_wrong_keys(self, one: MasterWorker, change: dict[str, Any]) -> None:
        wanted = {"name": "a", "roles": ["events:read"], **change}
        assert (await call(one, "POST", "/api/keys", wanted)).status == 422
