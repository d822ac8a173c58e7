"""Two workers answer as one."""

from __future__ import annotations

from typing import Any

from certes.api import folded, listing
from tests.apps.master import (
    WANTED,
    Bus,
    MasterWorker,
    call,
    delivery,
    row,
)


class TestTwoWorkers:
    async def test_an_event_is_answered_by_its_owner(self, two: tuple[MasterWorker, MasterWorker]) -> None:
        first, second = two
        second.put(row(1, partition=2, deliveries=(delivery(state="exhausted"),)), b"[1]")
        path = f"/api/events/{row(1, partition=2).id}"
        assert (await call(first, "GET", path)).json["partition"] == 2
        assert (await call(first, "GET", f"{path}/payload")).body == b"[1]"
        answer = await call(first, "POST", f"{path}/retry")
        assert answer.headers["certes-position"] == "2/2"
        assert second.commands[0].actor == "admin"
        assert (await call(first, "GET", f"{path}?after=2/2")).json["state"] == "delivering"
        assert (await call(first, "GET", f"/api/events/{row(9, partition=2).id}")).status == 404

    async def test_the_caller_keeps_its_name(self, two: tuple[MasterWorker, MasterWorker]) -> None:
        first, second = two
        second.put(row(1, partition=2, deliveries=(delivery(),)))
        key = (await call(first, "POST", "/api/keys", {"name": "Zoë/ops", "roles": ["events:write"]})).json["key"]
        assert (await call(first, "POST", f"/api/events/{row(1, partition=2).id}/cancel", key=key)).status == 202
        assert second.commands[0].actor == "Zoë/ops"

    async def test_lists_are_merged_in_pages(self, two: tuple[MasterWorker, MasterWorker]) -> None:
        for number in range(12):
            partition = (0, 2, 1, 3)[number % 4]
            two[partition // 2].put(row(number, partition=partition))
        seen, cursor = [], ""
        while True:
            page = (await call(two[0], "GET", f"/api/events?limit=5{cursor}")).json
            assert "missing" not in page
            seen += [item["offset"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == list(range(11, -1, -1))

    async def test_who_does_not_answer_is_named(self, two: tuple[MasterWorker, MasterWorker]) -> None:
        two[0].put(row(1))
        await two[1].server.close()
        page = (await call(two[0], "GET", "/api/events")).json
        assert [item["offset"] for item in page["items"]] == [1]
        assert page["missing"] == [{"worker": "w2", "partitions": [2, 3]}]
        assert (await call(two[0], "GET", f"/api/events/{row(1, partition=2).id}")).status == 503

    async def test_who_is_too_slow_is_named(self, two: tuple[MasterWorker, MasterWorker], monkeypatch: Any) -> None:
        monkeypatch.setattr(listing, "ASK_SECONDS", 0.2)

        async def never(partition: int, sql: str, params: Any = ()) -> Any:
            await folded.asyncio.sleep(5)

        monkeypatch.setattr(two[1].events, "query", never)
        assert (await call(two[0], "GET", "/api/events")).json["missing"][0]["worker"] == "w2"

    async def test_a_partition_that_nobody_owns_is_named(self, bus: Bus) -> None:
        worker = MasterWorker(bus, name="w1", partitions=(0, 1, 2))
        await worker.start()
        page = (await call(worker, "GET", "/api/events")).json
        assert page["missing"] == [{"worker": None, "partitions": [3]}]
        assert (await call(worker, "GET", f"/api/events/{row(1, partition=3).id}")).status == 503

    async def test_two_workers_that_point_at_each_other_do_not_ask_for_ever(
        self, two: tuple[MasterWorker, MasterWorker]
    ) -> None:
        two[1].owned = frozenset()  # it has lost what it announced
        assert (await call(two[0], "GET", f"/api/events/{row(1, partition=2).id}")).status == 503

    async def test_the_configuration_is_written_by_the_owner_of_partition_0(
        self, two: tuple[MasterWorker, MasterWorker]
    ) -> None:
        first, second = two
        answer = await call(second, "POST", "/api/subscriptions", WANTED)
        assert answer.status == 201
        assert answer.headers["location"] == f"/api/subscriptions/{answer.json['id']}"
        assert "certes-unread" not in answer.headers
        for worker in two:
            assert answer.json["id"] in worker.log.config.subscriptions
        stale = await call(second, "PATCH", answer.headers["location"], {"priority": 1}, headers={"if-match": '"x"'})
        assert stale.status == 412
        assert first.writer.writes_here
        assert not second.writer.writes_here
