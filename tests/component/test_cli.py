"""The client commands against the Master API's real views."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from certes.api.ports import Status
from certes.event import Problem
from tests.apps.command import Ran, run
from tests.apps.master import ADMIN_KEY, EVENT, NOW_MS, Bus, MasterWorker, attempt, delivery, row

HOOK = "http://127.0.0.1:8000/hooks"


class Shell:
    """Runs commands beside the worker's loop; `ok` wants them done."""

    def __init__(self, worker: MasterWorker) -> None:
        self._env = {"CERTES_URL": str(worker.server.make_url("")), "CERTES_API_KEY": ADMIN_KEY}

    async def run(self, *arguments: str, **env: str) -> Ran:
        return await asyncio.to_thread(run, *arguments, **{**self._env, **env})

    async def ok(self, *arguments: str) -> str:
        ran = await self.run(*arguments)
        assert ran.code == 0, ran.err
        return ran.out.strip()

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.ok(*arguments, "--json"))


@pytest.fixture
async def worker() -> AsyncIterator[MasterWorker]:
    made = MasterWorker(Bus(), name="w1", partitions=range(4))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def shell(worker: MasterWorker) -> Shell:
    return Shell(worker)


class TestEvents:
    async def test_list(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1, deliveries=(delivery(state="delivered"), delivery("sub_b", "waiting"))))
        worker.put(row(2, partition=1, uri=None, state="rejected"))
        head, newest, oldest = (await shell.ok("events", "list")).splitlines()
        assert head.split() == ["ID", "RECEIVED", "STATE", "URI", "SOURCE", "DELIVERIES"]
        assert newest.split() == [row(2, partition=1).id, "2023-11-14T22:13:22.000Z", "rejected", "-", "kafka", "-"]
        assert oldest.split()[:4] == [row(1).id, "2023-11-14T22:13:21.000Z", "delivering", EVENT]
        assert "1 delivered, 1 waiting" in oldest

    async def test_filters_and_pages(self, shell: Shell, worker: MasterWorker) -> None:
        for number in range(3):
            worker.put(row(number))
        worker.put(row(9, state="rejected"))
        unrouted = ("events", "list", "--state", "unrouted", "--uri", EVENT, "--limit", "2")
        first = await shell.run(*unrouted)
        assert row(2).id in first.out
        assert row(9).id not in first.out
        cursor = first.err.split()[-1]
        rest = (await shell.json(*unrouted, "--cursor", cursor))["items"]
        assert [one["id"] for one in rest] == [row(0).id]

    async def test_a_filter_that_is_none(self, shell: Shell) -> None:
        shown = await shell.run("events", "list", "--state", "happy")
        assert (shown.code, shown.out) == (1, "")
        assert shown.err.startswith("Malformed request: state must be one of accepted")

    async def test_show(self, shell: Shell, worker: MasterWorker) -> None:
        tried = delivery(state="waiting", attempt=1, due=NOW_MS + 5000, attempts=(attempt(1, status=503, error="503"),))
        worker.put(row(7, deliveries=(tried, delivery("sub_b", "delivered", attempts=(attempt(1, status=200),)))))
        worker.payloads.responses[0, 101] = "later\x1b[0m"
        shown = await shell.ok("events", "show", row(7).id)
        assert "trace     gw.1 > eb.0-7 > ec.1 > ec.1" in shown
        assert "sub_a: waiting, priority 4, next attempt 2023-11-14T22:13:25.000Z" in shown
        assert "  1. 2023-11-14T22:13:21.000Z  12 ms  503: later\N{REPLACEMENT CHARACTER}[0m" in shown
        assert "HTTP 200" in shown
        assert (await shell.json("events", "show", row(7).id))["state"] == "delivering"

    async def test_show_says_why_it_was_rejected(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1, state="rejected", errors=(Problem("must be a number", "$.cents"),)))
        assert "  $.cents: must be a number" in (await shell.ok("events", "show", row(1).id)).splitlines()

    async def test_payload_is_the_bytes(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1), b"\xff\x00{}\n")
        assert (await shell.run("events", "show", row(1).id, "--payload")).raw == b"\xff\x00{}\n"

    async def test_retry_and_cancel(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1, deliveries=(delivery(state="exhausted"), delivery("sub_b", "delivered"))))
        worker.running.add((row(1).id, "sub_b"))
        assert "tried again" in await shell.ok("events", "retry", row(1).id)
        assert "tried again" in await shell.ok("events", "retry", row(1).id, "--subscription", "sub_b")
        cancelled = await shell.run("events", "cancel", row(1).id)
        assert cancelled.out == f"{row(1).id} is cancelled\n"
        assert cancelled.err == "a call that is going on cannot be stopped: sub_b\n"
        asked = [(one.action, one.subscription) for one in worker.commands]
        assert asked == [("retry", None), ("retry", "sub_b"), ("cancel", None)]

    async def test_what_cannot_be_done(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1, state="unrouted"))
        refused = await shell.run("events", "retry", row(1).id)
        assert (refused.code, refused.err.startswith("Conflict: ")) == (1, True)
        unknown = await shell.run("events", "show", row(2).id)
        assert (unknown.code, unknown.err.startswith("Not found: ")) == (1, True)


class TestSubscriptions:
    async def test_life(self, shell: Shell) -> None:
        made = await shell.ok(
            "subscriptions", "add", "events.meetly.com/shop/1/*", "--to", HOOK, "--filter", "data.cents > 100",
            "--priority", "9", "--header", "x-team: shop", "--ordered", "--max-in-flight", "3", "--timeout", "2.5",
        )  # fmt: skip
        assert made.startswith("sub_")
        shown = await shell.json("subscriptions", "show", made)
        assert shown["destination"] == {"type": "http", "url": HOOK, "headers": {"x-team": "shop"}}
        assert (shown["filter"], shown["priority"], shown["ordered"]) == ("data.cents > 100", 9, True)
        assert (shown["max_in_flight"], shown["timeout_seconds"]) == (3, 2.5)
        _, line = (await shell.ok("subscriptions", "list")).splitlines()
        assert line.split()[:3] == [made, "events.meetly.com/shop/1/*", HOOK]
        assert (await shell.ok("subscriptions", "show", made, "--secrets")).startswith("whsec_")
        assert f"to               {HOOK}" in (await shell.ok("subscriptions", "show", made)).splitlines()
        assert await shell.ok("subscriptions", "remove", made) == f"{made} is removed"
        assert (await shell.json("subscriptions", "list"))["items"] == []

    async def test_refused(self, shell: Shell) -> None:
        wrong = await shell.run("subscriptions", "add", EVENT, "--to", "ftp://x", "--filter", "data.")
        assert wrong.code == 1
        assert any(line.startswith("$.destination.url: ") for line in wrong.err.splitlines())
        assert any(line.startswith("$.filter: ") for line in wrong.err.splitlines())

    @pytest.mark.parametrize(
        "options", [("--to", HOOK, "--header", "nonsense"), ("--to", HOOK, "--priority", "10"), ()]
    )
    async def test_wrong_usage(self, shell: Shell, options: tuple[str, ...]) -> None:
        assert (await shell.run("subscriptions", "add", EVENT, *options)).code == 2

    async def test_a_pattern_that_is_none(self, shell: Shell) -> None:
        assert (await shell.run("subscriptions", "add", "nonsense", "--to", HOOK)).code == 2


class TestSchemas:
    async def test_push_show_check(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "payment.avsc"
        file.write_text('{"type": "record", "name": "payment", "fields": []}')
        assert await shell.ok("schemas", "check", EVENT, str(file)) == f"{EVENT} would become version 1.0"
        assert await shell.ok("schemas", "push", EVENT, str(file)) == f"{EVENT} version 1.0 (id 1)"
        assert json.loads(await shell.ok("schemas", "show", EVENT))["name"] == "payment"
        assert (await shell.json("schemas", "show", EVENT, "--version", "1.0"))["id"] == 1
        for listing in (("schemas", "list"), ("schemas", "show", EVENT, "--versions")):
            _, line = (await shell.ok(*listing)).splitlines()
            assert line.split()[:3] == [EVENT, "1.0", "1"]

    async def test_no_such_file(self, shell: Shell) -> None:
        assert (await shell.run("schemas", "push", EVENT, "nothing.avsc")).code == 2

    async def test_no_such_schema(self, shell: Shell) -> None:
        assert (await shell.run("schemas", "show", EVENT)).code == 1


class TestSources:
    TEMPLATE = "community.certes.dev/github/1/{header:x-github-event}"

    async def test_life(self, shell: Shell, worker: MasterWorker) -> None:
        add = ("sources", "add", "github", "--scheme", "github", "--uri", self.TEMPLATE, "--secret", "s3cret")
        assert await shell.ok(*add) == f"{str(worker.server.make_url('')).rstrip('/')}/events/from/github"
        _, line = (await shell.ok("sources", "list")).splitlines()
        assert line.split() == ["github", "github", self.TEMPLATE, "optional", "1"]
        again = await shell.run(*add)
        assert (again.code, again.err.startswith("Precondition failed: ")) == (1, True)
        assert await shell.ok(*add, "--schemas", "required", "--replace")
        assert (await shell.json("sources", "list"))["items"][0]["schemas"] == "required"
        assert await shell.ok("sources", "remove", "github") == "github is removed"

    async def test_hmac_fields(self, shell: Shell) -> None:
        add = ("sources", "add", "x", "--scheme", "hmac", "--uri", EVENT, "--secret", "s", "--hmac")
        await shell.ok(*add, '{"header": "x-signature"}')
        assert (await shell.json("sources", "list"))["items"][0]["hmac"]["header"] == "x-signature"
        assert (await shell.run(*add, "{")).code == 2


class TestKeys:
    async def test_life(self, shell: Shell) -> None:
        made = await shell.run("keys", "add", "shop", "--role", "events:write", "--role", "events:read")
        key = made.out.strip()
        assert key.startswith("key_")
        refused = await shell.run("subscriptions", "list", CERTES_API_KEY=key)
        assert (refused.code, refused.err) == (1, "Forbidden: shop lacks the role subscriptions:read\n")
        (listed,) = (await shell.json("keys", "list"))["items"]
        assert listed["id"] in made.err
        assert key not in (await shell.ok("keys", "list"))
        assert await shell.ok("keys", "remove", listed["id"]) == f"{listed['id']} is revoked"
        assert (await shell.run("events", "list", CERTES_API_KEY=key)).code == 1

    async def test_unknown_role(self, shell: Shell) -> None:
        assert (await shell.run("keys", "add", "shop", "--role", "everything")).code == 1


class TestStats:
    async def test_at_a_glance(self, shell: Shell, worker: MasterWorker) -> None:
        worker.put(row(1, deliveries=(delivery(priority=9), delivery("sub_b", "waiting", priority=9))))
        worker.status = Status(ready=True, in_flight={"sub_a": 1})
        lines = (await shell.ok("stats")).splitlines()
        assert lines[:2] == ["events     1 delivering", "in flight  1"]
        assert ["9", "1", "1"] in [line.split()[:3] for line in lines]
        assert [line.split()[0] for line in lines if "http://" in line] == ["w1"]
        assert (await shell.json("stats"))["events"] == {"delivering": 1}


async def test_a_change_that_somebody_has_not_read_is_told(shell: Shell, worker: MasterWorker) -> None:
    slow = MasterWorker(worker.bus, name="w2", partitions=())
    await slow.start()
    slow.reads_config = False
    made = await shell.run("keys", "add", "shop", "--role", "events:write")
    await slow.stop()
    assert (made.code, "done, but not yet read by: w2\n" in made.err) == (0, True)
