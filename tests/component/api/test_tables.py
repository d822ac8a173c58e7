"""Schemas, tables and statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from certes.backoffs import BackoffRow
from tests.apps.master import (
    EVENT,
    NOW_MS,
    MasterWorker,
    call,
    delivery,
    items,
    made,
    row,
)

NOW = "2023-11-14T22:13:20.000Z"


class TestSchemas:
    PATH = f"/api/schemas/{EVENT}"
    SCHEMA: ClassVar = {"type": "record", "name": "payment", "fields": []}

    async def test_pushed_and_read(self, one: MasterWorker) -> None:
        assert (await call(one, "GET", self.PATH)).status == 404
        pushed = await call(one, "POST", self.PATH, {"schema": self.SCHEMA})
        assert (pushed.status, pushed.json["version"], pushed.json["id"]) == (201, "1.0", 1)
        assert pushed.json["uri"] == EVENT
        await call(one, "POST", self.PATH, {"schema": '{"type": "record", "name": "p", "fields": []}'})
        assert (await call(one, "GET", self.PATH)).json["version"] == "1.1"
        for version in ("1.0", "1"):
            assert (await call(one, "GET", f"{self.PATH}?version={version}")).json["version"] == "1.0"
        assert (await call(one, "GET", f"{self.PATH}?version=1.7")).status == 404
        assert (await call(one, "GET", f"{self.PATH}?version=x")).status == 400
        assert [item["version"] for item in await items(one, f"{self.PATH}?versions=all")] == ["1.0", "1.1"]
        assert [item["uri"] for item in await items(one, "/api/schemas")] == [EVENT]

    async def test_a_dry_run_changes_nothing(self, one: MasterWorker) -> None:
        checked = await call(one, "POST", f"{self.PATH}?dry_run=true", {"schema": self.SCHEMA})
        assert (checked.status, checked.json["version"], checked.json["id"]) == (200, "1.0", None)
        assert await items(one, "/api/schemas") == []

    async def test_refusals(self, one: MasterWorker) -> None:
        assert (await call(one, "POST", self.PATH, {"schema": {**self.SCHEMA, "broken": True}})).status == 409
        assert (await call(one, "POST", self.PATH, {"schema": 1})).status == 422
        assert (await call(one, "POST", self.PATH, {})).status == 422
        assert (await call(one, "POST", "/api/schemas/nonsense", {"schema": self.SCHEMA})).status == 400
        assert (await call(one, "POST", f"{self.PATH}?dry_run=perhaps", {"schema": self.SCHEMA})).status == 400


class TestTables:
    @pytest.fixture
    def some(self, one: MasterWorker) -> MasterWorker:
        for number, priority in ((1, 4), (2, 9), (3, 4)):
            waiting = delivery(priority=priority, state="waiting", due=NOW_MS + number)
            one.put(row(number, partition=number, deliveries=(waiting, delivery("sub_b", "delivered"))))
        one.put_backoff(1, BackoffRow(v=1, subscription="sub_a", applied=1, failures=3, failing_since=NOW_MS))
        return one

    async def test_all_are_named_and_can_be_read(self, some: MasterWorker) -> None:
        names = [item["name"] for item in await items(some, "/api/tables")]
        assert {"events", "backoffs", "deliveries", "priorities", "due", "subscriptions", "sources"} <= set(names)
        for name in names:
            await items(some, f"/api/tables/{name}")
        assert (await call(some, "GET", "/api/tables/users")).status == 404

    async def test_due_is_the_order_of_delivery(self, some: MasterWorker) -> None:
        found = await items(some, "/api/tables/due")
        assert [(item["priority"], item["partition"]) for item in found] == [(9, 2), (4, 1), (4, 3)]
        assert await items(some, "/api/tables/due/sub_b") == []

    async def test_due_in_pages(self, some: MasterWorker) -> None:
        page = (await call(some, "GET", "/api/tables/due?limit=2")).json
        rest = (await call(some, "GET", f"/api/tables/due?limit=2&cursor={page['next']}")).json
        assert [item["partition"] for item in (*page["items"], *rest["items"])] == [2, 1, 3]
        assert rest["next"] is None

    async def test_deliveries_in_pages(self, some: MasterWorker) -> None:
        seen, cursor = [], ""
        for _ in range(6):
            page = (await call(some, "GET", f"/api/tables/deliveries?limit=1{cursor}")).json
            seen += [(item["partition"], item["subscription"]) for item in page["items"]]
            cursor = f"&cursor={page['next']}"
        assert seen == [(number, name) for number in (1, 2, 3) for name in ("sub_a", "sub_b")]
        assert page["next"] is None
        assert len(await items(some, f"/api/tables/deliveries/{row(1, partition=1).id}")) == 2

    async def test_priorities_and_backoffs(self, some: MasterWorker) -> None:
        assert [item["waiting"] for item in await items(some, "/api/tables/priorities/4")] == [1, 1]
        (backoff,) = await items(some, "/api/tables/backoffs/sub_a")
        assert (backoff["failures"], backoff["failing_since"], backoff["partition"]) == (3, NOW, 1)

    async def test_one_row(self, some: MasterWorker) -> None:
        await call(some, "PUT", "/api/priorities/source/a", {"priority": 1})
        rule = (await call(some, "GET", "/api/tables/priority_rules/source/a")).json
        assert (rule["key"], rule["priority"]) == ("source/a", 1)
        assert (await call(some, "GET", "/api/tables/priority_rules/source/b")).status == 404
        identifier = row(1, partition=1).id
        assert (await call(some, "GET", f"/api/tables/events/{identifier}")).json["id"] == identifier

    async def test_secrets_are_masked(self, some: MasterWorker) -> None:
        await made(some)
        body = (await call(some, "GET", "/api/tables/subscriptions")).body
        assert b"whsec_" not in body
        assert b"********" in body


class TestStats:
    async def test_one_worker(self, one: MasterWorker) -> None:
        subscription = await made(one, max_in_flight=7)
        one.put(row(1, deliveries=(delivery(priority=9), delivery("sub_b", "waiting", due=NOW_MS - 1000))))
        one.status = replace(
            one.status, lag={0: 5}, lag_seconds=0.2, in_flight={"sub_a": 1}, mailbox=2, fold={"failed": 1}
        )
        stats = (await call(one, "GET", "/api/stats")).json
        assert stats["queue"] == [
            {"priority": 9, "pending": 1, "waiting": 0, "oldest_due_at": NOW},
            {"priority": 4, "pending": 0, "waiting": 1, "oldest_due_at": "2023-11-14T22:13:19.000Z"},
        ]
        assert stats["oldest_due_at"] == "2023-11-14T22:13:19.000Z"
        assert (stats["events"], stats["in_flight"], stats["mailbox"]) == ({"delivering": 1}, {"sub_a": 1}, 2)
        assert stats["lag"][0] == {"partition": 0, "records": 5}
        (limit,) = stats["limits"]
        assert (limit["subscription"], limit["max_in_flight"]) == (subscription["id"], 7)
        (worker,) = stats["workers"]
        assert (worker["id"], worker["partitions"], worker["lag_seconds"]) == ("w1", [0, 1, 2, 3], 0.2)

    async def test_a_held_subscription_may_start_nothing(self, one: MasterWorker) -> None:
        await made(one, enabled=False)
        assert (await call(one, "GET", "/api/stats")).json["limits"][0]["max_in_flight"] == 0

    async def test_two_workers_are_added_up(self, two: tuple[MasterWorker, MasterWorker]) -> None:
        two[0].put(row(1, deliveries=(delivery(),)))
        two[1].put(row(1, partition=2, deliveries=(delivery(),)))
        stats = (await call(two[0], "GET", "/api/stats")).json
        assert (stats["queue"][0]["pending"], stats["events"]) == (2, {"delivering": 2})
        assert [one["partitions"] for one in stats["workers"]] == [[0, 1], [2, 3]]
        assert "missing" not in stats
