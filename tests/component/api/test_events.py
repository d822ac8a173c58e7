"""Events: shown, listed, waited for, retried, cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from certes.api import folded
from certes.event import Problem, SchemaRef
from tests.apps.master import (
    EVENT,
    NOW_MS,
    MasterWorker,
    attempt,
    call,
    delivery,
    items,
    row,
)


class TestOneEvent:
    async def test_all_of_it(self, one: MasterWorker) -> None:
        tried = delivery(state="waiting", attempt=1, due=NOW_MS + 5000, attempts=(attempt(1, status=500, error="500"),))
        one.put(row(7, partition=2, deliveries=(tried, delivery("sub_b", "delivered")), schema=SchemaRef(3, "1.0")))
        one.payloads.responses[2, 101] = "oops"
        identifier = row(7, partition=2).id
        shown = (await call(one, "GET", f"/api/events/{identifier}")).json
        assert shown["id"] == identifier
        assert shown["uri"] == EVENT
        assert shown["schema"] == {"id": 3, "version": "1.0"}
        assert shown["received_at"] == "2023-11-14T22:13:27.000Z"
        assert (shown["partition"], shown["offset"], shown["size"]) == (2, 7, 2)
        assert shown["state"] == "delivering"
        assert shown["trace"] == ["gw.1", "eb.2-7", "ec.1"]
        first, second = shown["deliveries"]
        assert first["next_attempt_at"] == "2023-11-14T22:13:25.000Z"
        assert first["rule"] == {"priority": "default", "backoff": "default"}
        (tried_once,) = first["attempts"]
        assert tried_once["number"] == 1
        assert (tried_once["status"], tried_once["error"], tried_once["response"]) == (500, "500", "oops")
        assert second["next_attempt_at"] is None

    async def test_errors_of_a_rejected_event(self, one: MasterWorker) -> None:
        one.put(row(1, state="rejected", uri=None, errors=(Problem("must be a number", "$.cents"), Problem("odd"))))
        shown = (await call(one, "GET", f"/api/events/{row(1).id}")).json
        errors = [{"path": "$.cents", "reason": "must be a number"}, {"path": "$", "reason": "odd"}]
        assert (shown["errors"], shown["schema"], shown["deliveries"]) == (errors, None, [])

    async def test_attempts_say_whether_they_are_all(self, one: MasterWorker) -> None:
        all_of_them = delivery(attempts=tuple(attempt(n) for n in range(1, 6)))
        late_ones = delivery("sub_b", attempts=tuple(attempt(n) for n in range(3, 8)))
        one.put(row(1, deliveries=(all_of_them,)))
        one.put(row(2, deliveries=(all_of_them, late_ones)))
        first = (await call(one, "GET", f"/api/events/{row(1).id}/attempts")).json
        assert ([item["number"] for item in first["items"]], first["complete"]) == ([1, 2, 3, 4, 5], True)
        second = (await call(one, "GET", f"/api/events/{row(2).id}/attempts")).json
        assert (len(second["items"]), second["complete"]) == (10, False)

    async def test_payload_as_received_and_harmless_in_a_browser(self, one: MasterWorker) -> None:
        one.put(row(1, content_type="text/html"), b"<script>\xff")
        answer = await call(one, "GET", f"/api/events/{row(1).id}/payload")
        assert answer.body == b"<script>\xff"
        assert answer.headers["content-type"] == "text/html"
        assert answer.headers["content-security-policy"] == "sandbox"
        assert answer.headers["content-disposition"] == "attachment"

    @pytest.mark.parametrize("content_type", ["a\r\nx-evil: 1", "", "nonsense", "ä/b"])
    async def test_a_content_type_that_is_none(self, one: MasterWorker, content_type: str) -> None:
        one.put(row(1, content_type=content_type))
        answer = await call(one, "GET", f"/api/events/{row(1).id}/payload")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "x-evil" not in answer.headers

    async def test_payload_past_retention(self, one: MasterWorker) -> None:
        one.put(row(1))
        one.payloads.values.clear()
        assert (await call(one, "GET", f"/api/events/{row(1).id}/payload")).status == 410

    async def test_unknown_ids(self, one: MasterWorker) -> None:
        assert (await call(one, "GET", f"/api/events/{row(1).id}")).status == 404
        assert (await call(one, "GET", "/api/events/evt_x")).status == 400
        assert (await call(one, "GET", f"/api/events/{row(1, partition=9).id}")).status == 404


class TestWaiting:
    async def test_what_was_just_published_is_waited_for(self, one: MasterWorker, monkeypatch: Any) -> None:
        monkeypatch.setattr(folded, "WAIT_SECONDS", 0.2)
        one.ends[0] = 3
        assert (await call(one, "GET", f"/api/events/{row(3).id}")).status == 504
        one.folded[0] = 3
        assert (await call(one, "GET", f"/api/events/{row(3).id}")).status == 404

    async def test_the_fold_comes_while_it_is_waited_for(self, one: MasterWorker, monkeypatch: Any) -> None:
        one.ends[0] = 3

        async def sleep(seconds: float) -> None:
            one.put(row(3))

        monkeypatch.setattr(folded.asyncio, "sleep", sleep)
        assert (await call(one, "GET", f"/api/events/{row(3).id}")).status == 200

    async def test_after_a_command(self, one: MasterWorker, monkeypatch: Any) -> None:
        monkeypatch.setattr(folded, "WAIT_SECONDS", 0.2)
        one.put(row(1, deliveries=(delivery(state="exhausted"),)))
        one.folds_commands = False
        answer = await call(one, "POST", f"/api/events/{row(1).id}/retry")
        position = answer.headers["certes-position"]
        assert (await call(one, "GET", f"/api/events/{row(1).id}?after={position}")).status == 504
        assert (await call(one, "GET", f"/api/events?after={position}")).status == 504
        one.folded[0] = answer.json["offset"]
        assert (await call(one, "GET", f"/api/events/{row(1).id}?after={position}")).status == 200

    @pytest.mark.parametrize("after", ["x", "0", "0/", "-1/2", "0/x", "٣/1"])
    async def test_wrong_positions(self, one: MasterWorker, after: str) -> None:
        assert (await call(one, "GET", f"/api/events?after={after}")).status == 400


class TestCommands:
    async def test_retry(self, one: MasterWorker) -> None:
        one.put(row(1, deliveries=(delivery(state="exhausted"), delivery("sub_b", "delivered"))))
        answer = await call(one, "POST", f"/api/events/{row(1).id}/retry")
        assert answer.status == 202
        assert answer.json == {"id": row(1).id, "partition": 0, "offset": 2, "in_flight": []}
        (command,) = one.commands
        assert (command.action, command.actor, command.subscription) == ("retry", "admin", None)
        shown = (await call(one, "GET", f"/api/events/{row(1).id}?after=0/2")).json
        assert [(one["state"], one["epoch"]) for one in shown["deliveries"]] == [("pending", 2), ("delivered", 1)]
        assert shown["trace"][-1] == command.trace
        assert command.trace.startswith("api.")

    async def test_nothing_to_retry(self, one: MasterWorker) -> None:
        one.put(row(1))
        one.put(row(2, deliveries=(delivery(state="delivered"),)))
        assert (await call(one, "POST", f"/api/events/{row(1).id}/retry")).status == 409
        assert (await call(one, "POST", f"/api/events/{row(2).id}/retry")).status == 409
        named = {"subscription": "sub_a"}
        assert (await call(one, "POST", f"/api/events/{row(2).id}/retry", named)).status == 202
        unknown = {"subscription": "sub_x"}
        assert (await call(one, "POST", f"/api/events/{row(2).id}/retry", unknown)).status == 404

    async def test_cancel_says_what_cannot_be_stopped(self, one: MasterWorker) -> None:
        one.put(row(1, deliveries=(delivery(), delivery("sub_b"))))
        one.running = {(row(1).id, "sub_b")}
        answer = await call(one, "POST", f"/api/events/{row(1).id}/cancel")
        assert (answer.status, answer.json["in_flight"]) == (202, ["sub_b"])
        assert (await one.row(row(1).id)).state == "cancelled"
        assert (await call(one, "POST", f"/api/events/{row(1).id}/cancel")).status == 409

    async def test_a_parked_event_can_be_cancelled(self, one: MasterWorker) -> None:
        one.put(row(1, state="accepted"))
        assert (await call(one, "POST", f"/api/events/{row(1).id}/cancel")).status == 202

    async def test_a_body_of_something_else(self, one: MasterWorker) -> None:
        one.put(row(1, deliveries=(delivery(),)))
        assert (await call(one, "POST", f"/api/events/{row(1).id}/cancel", {"sub": "x"})).status == 422


class TestEventList:
    @pytest.fixture
    def some(self, one: MasterWorker) -> MasterWorker:
        one.put(row(1, deliveries=(delivery("sub_a", "delivered"),)))
        one.put(
            row(2, partition=1, deliveries=(delivery("sub_b", "exhausted", attempts=(attempt(1, error="refused"),)),))
        )
        one.put(row(3, source="github", uri="community.certes.dev/github/1/push"))
        one.put(row(4, partition=3, state="rejected", uri=None, errors=(Problem("odd 100%"),)))
        return one

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", [4, 3, 2, 1]),
            ("uri=community.certes.dev/github/1/push", [3]),
            ("uri=events.meetly.com/*", [2, 1]),
            ("uri=events.meetly.com/shop/1/*", [2, 1]),
            ("uri=events.meetly.com/sh/*", []),
            ("state=rejected", [4]),
            ("source=github", [3]),
            ("subscription=sub_b", [2]),
            ("since=2023-11-14T22:13:22Z", [4, 3, 2]),
            ("until=2023-11-14T22:13:22Z", [1]),
            ("since=2023-11-14T23:13:22%2B01:00", [4, 3, 2]),
            ("q=PAYMENT", [2, 1]),
            ("q=ODD", [4]),
            ("q=100%25", [4]),
            ("q=refus", [2]),
            (f"q={row(2, partition=1).id}", [2]),
            ("q=github&state=unrouted&limit=1", [3]),
            ("q=_", [4, 3, 2, 1]),
        ],
    )
    async def test_filters(self, some: MasterWorker, query: str, found: list[int]) -> None:
        assert [item["offset"] for item in await items(some, f"/api/events?{query}")] == found

    @pytest.mark.parametrize("query", ["uri=x", "state=lost", "since=now", "since=2023-11-14T22:13:22", "q=%00"])
    async def test_wrong_filters(self, some: MasterWorker, query: str) -> None:
        assert (await call(some, "GET", f"/api/events?{query}")).status == 400

    async def test_pages_of_events_at_the_same_moment(self, one: MasterWorker) -> None:
        expected = [(partition, offset) for partition in (3, 2, 1, 0) for offset in (2, 1, 0)]
        for partition, offset in expected:
            one.put(row(offset, partition=partition, received_at=NOW_MS))
        seen: list[tuple[int, int]] = []
        cursor = ""
        while True:
            page = (await call(one, "GET", f"/api/events?limit=5{cursor}")).json
            seen += [(item["partition"], item["offset"]) for item in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == expected
