"""Subscriptions, rules, sources and flags: the entries of the configuration."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from standardwebhooks import Webhook

from tests.apps.master import (
    ADMIN_KEY,
    EVENT,
    WANTED,
    MasterWorker,
    call,
    items,
    made,
)

NOW = "2023-11-14T22:13:20.000Z"


class TestSubscriptions:
    async def test_made_read_changed_deleted(self, one: MasterWorker) -> None:
        subscription = await made(one, priority=9)
        path = f"/api/subscriptions/{subscription['id']}"
        assert subscription["id"].startswith("sub_")
        assert "secrets" not in subscription
        assert (await call(one, "GET", path)).json == subscription
        one.bus.clock.move(1)
        changed = await call(one, "PATCH", path, {"priority": None, "destination": {"headers": {"x-team": "a"}}})
        assert changed.status == 200
        assert changed.json["priority"] is None
        assert changed.json["destination"]["url"] == WANTED["destination"]["url"]  # type: ignore[index]
        assert changed.json["updated_at"] > changed.json["created_at"]
        assert (await call(one, "DELETE", path)).status == 204
        assert (await call(one, "GET", path)).status == 404
        assert (await call(one, "DELETE", path)).status == 404

    async def test_put_creates_then_replaces_and_keeps_the_secret(self, one: MasterWorker) -> None:
        first = await call(one, "PUT", "/api/subscriptions/shop-hooks", WANTED)
        assert first.status == 201
        secrets = (await call(one, "GET", "/api/subscriptions/shop-hooks/secrets")).json
        # What was answered can be sent back.
        second = await call(one, "PUT", "/api/subscriptions/shop-hooks", {**first.json, "priority": 2})
        assert (second.status, second.json["priority"]) == (200, 2)
        assert (await call(one, "GET", "/api/subscriptions/shop-hooks/secrets")).json == secrets

    async def test_every_fault_is_named_with_its_path(self, one: MasterWorker) -> None:
        wrong = {"uri": "nonsense", "destination": {"url": "ftp://x"}, "priority": 10, "colour": "red", "filter": "1 +"}
        answer = await call(one, "POST", "/api/subscriptions", wrong)
        assert answer.status == 422
        paths = {error["path"] for error in answer.json["errors"]}
        assert paths == {"$.uri", "$.destination.url", "$.priority", "$.colour", "$.filter"}

    @pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"NaN"])
    async def test_a_body_that_is_no_object(self, one: MasterWorker, body: bytes) -> None:
        assert (await call(one, "POST", "/api/subscriptions", body)).status == 400

    async def test_conditions(self, one: MasterWorker) -> None:
        path = "/api/subscriptions/shop"
        etag = (await call(one, "PUT", path, WANTED, headers={"if-none-match": "*"})).headers["etag"]
        assert (await call(one, "PUT", path, WANTED, headers={"if-none-match": "*"})).status == 412
        assert (await call(one, "GET", path)).headers["etag"] == etag
        changed = await call(one, "PATCH", path, {"priority": 1}, headers={"if-match": etag})
        assert changed.status == 200
        assert (await call(one, "PATCH", path, {"priority": 2}, headers={"if-match": etag})).status == 412
        assert (await call(one, "DELETE", path, headers={"if-match": etag})).status == 412
        assert (await call(one, "DELETE", path, headers={"if-match": changed.headers["etag"]})).status == 204

    async def test_pages(self, one: MasterWorker) -> None:
        ids = set()
        for _ in range(5):
            ids.add((await made(one))["id"])
            one.bus.clock.move(1)
        seen, path = [], "/api/subscriptions?limit=2"
        while path:
            page = (await call(one, "GET", path)).json
            seen += page["items"]
            path = f"/api/subscriptions?limit=2&cursor={page['next']}" if page["next"] else ""
        assert {item["id"] for item in seen} == ids
        assert [item["created_at"] for item in seen] == sorted(item["created_at"] for item in seen)

    @pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=²", "cursor=x", "cursor=WzFd"])
    async def test_wrong_paging(self, one: MasterWorker, query: str) -> None:
        assert (await call(one, "GET", f"/api/subscriptions?{query}")).status == 400


class TestSecrets:
    async def test_the_first_one_is_a_standard_webhooks_secret(self, one: MasterWorker) -> None:
        identifier = (await made(one))["id"]
        (secret,) = (await call(one, "GET", f"/api/subscriptions/{identifier}/secrets")).json["secrets"]
        assert secret["created_at"] == NOW
        assert secret["expires_at"] is None
        Webhook(secret["secret"])

    async def test_rotation_leaves_the_old_one_for_a_while(self, one: MasterWorker) -> None:
        path = f"/api/subscriptions/{(await made(one))['id']}/secrets"
        (old,) = (await call(one, "GET", path)).json["secrets"]
        rotated = await call(one, "POST", f"{path}/rotate", {"grace_seconds": 60})
        assert rotated.status == 200
        new, ending = rotated.json["secrets"]
        assert new["secret"] != old["secret"]
        assert (ending["secret"], ending["expires_at"]) == (old["secret"], "2023-11-14T22:14:20.000Z")
        one.bus.clock.move(61)
        assert (await call(one, "GET", path)).json["secrets"] == [new]

    async def test_rotation_never_prolongs(self, one: MasterWorker) -> None:
        path = f"/api/subscriptions/{(await made(one))['id']}/secrets"
        await call(one, "POST", f"{path}/rotate", {"grace_seconds": 60})
        secrets = (await call(one, "POST", f"{path}/rotate", {})).json["secrets"]
        assert [one["expires_at"] for one in secrets] == [None, "2023-11-15T22:13:20.000Z", "2023-11-14T22:14:20.000Z"]

    async def test_without_grace_only_the_new_one_is_left(self, one: MasterWorker) -> None:
        path = f"/api/subscriptions/{(await made(one))['id']}/secrets"
        assert len((await call(one, "POST", f"{path}/rotate", {"grace_seconds": 0})).json["secrets"]) == 1
        assert (await call(one, "POST", f"{path}/rotate", {"grace_seconds": -1})).status == 422


class TestRules:
    @pytest.mark.parametrize("scope", ["global", "source/github", f"event/{EVENT}", "event/events.meetly.com/shop/*"])
    async def test_priorities(self, one: MasterWorker, scope: str) -> None:
        path = f"/api/priorities/{scope}"
        assert (await call(one, "GET", path)).status == 404
        put = await call(one, "PUT", path, {"priority": 9})
        assert (put.status, put.json) == (201, {"scope": scope, "priority": 9})
        assert (await call(one, "PUT", path, put.json)).status == 200
        assert await items(one, "/api/priorities") == [put.json]
        assert one.log.config.priorities == {scope: 9}
        assert (await call(one, "DELETE", path)).status == 204
        assert await items(one, "/api/priorities") == []

    async def test_backoffs(self, one: MasterWorker) -> None:
        policy = {"strategy": "schedule", "schedule": [5, 300]}
        put = await call(one, "PUT", "/api/backoffs/source/stripe", policy)
        assert put.status == 201
        assert (put.json["scope"], put.json["schedule"]) == ("source/stripe", [5.0, 300.0])
        assert (await call(one, "GET", "/api/backoffs/source/stripe")).json == put.json
        assert one.log.config.backoffs["source/stripe"].schedule == (5.0, 300.0)

    @pytest.mark.parametrize("scope", ["nothing", "source/", "source/a/b", "event/x", "event/", "global/x"])
    async def test_wrong_scopes(self, one: MasterWorker, scope: str) -> None:
        assert (await call(one, "PUT", f"/api/priorities/{scope}", {"priority": 1})).status in (400, 422)

    @pytest.mark.parametrize("value", [10, -1, "9", None, 4.5, True])
    async def test_wrong_priorities(self, one: MasterWorker, value: Any) -> None:
        answer = await call(one, "PUT", "/api/priorities/global", {"priority": value})
        assert answer.status == 422


class TestSources:
    SOURCE: ClassVar = {
        "scheme": "github",
        "secrets": ["s3cret-s3cret-s3cret"],
        "uri": "community.certes.dev/github/1/{header:x-github-event}",
    }

    async def test_secrets_never_come_out(self, one: MasterWorker) -> None:
        put = await call(one, "PUT", "/api/sources/github", self.SOURCE)
        assert put.status == 201
        for path in ("/api/sources/github", "/api/sources", "/api/tables/sources", "/api/tables/sources/github"):
            assert b"s3cret" not in (await call(one, "GET", path)).body
        assert one.log.config.sources["github"].secrets == ("s3cret-s3cret-s3cret",)

    async def test_a_masked_secret_that_comes_back_stays(self, one: MasterWorker) -> None:
        shown = (await call(one, "PUT", "/api/sources/github", self.SOURCE)).json
        changed = {**shown, "secrets": [*shown["secrets"], "another-secret"], "description": "ours"}
        assert (await call(one, "PUT", "/api/sources/github", changed)).status == 200
        assert one.log.config.sources["github"].secrets == ("s3cret-s3cret-s3cret", "another-secret")
        assert (await call(one, "PUT", "/api/sources/other", shown)).status == 422

    async def test_the_name_kafka_is_taken(self, one: MasterWorker) -> None:
        assert (await call(one, "PUT", "/api/sources/kafka", self.SOURCE)).status == 422


class TestConfig:
    async def test_flags_are_merged(self, one: MasterWorker) -> None:
        empty = (await call(one, "GET", "/api/config")).json
        assert empty["flags"] == {}
        assert empty["settings"]["log"]["topic"] == "certes.events"
        await call(one, "PATCH", "/api/config", {"flags": {"a": True, "b": False}})
        patched = await call(one, "PATCH", "/api/config", {"flags": {"b": None, "c": True}})
        assert patched.json["flags"] == {"a": True, "c": True}
        assert (await call(one, "GET", "/api/config")).json == patched.json

    async def test_no_secret_is_among_the_settings(self, one: MasterWorker) -> None:
        assert ADMIN_KEY.encode() not in (await call(one, "GET", "/api/config")).body

    async def test_only_flags_can_be_changed(self, one: MasterWorker) -> None:
        assert (await call(one, "PATCH", "/api/config", {"kafka": "elsewhere"})).status == 422
