from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from certes import config_writer
from certes.config import Entry, Member
from certes.config_writer import BURY_SECONDS, Precondition
from certes.errors import NotFound, PreconditionFailed, Unavailable
from tests.apps.master import Bus, MasterWorker


@pytest.fixture
async def bus(monkeypatch: Any) -> AsyncIterator[Bus]:
    monkeypatch.setattr(config_writer, "CONFIRM_SECONDS", 0.2)
    bus = Bus()
    yield bus
    for worker in bus.workers:
        await worker.stop()


@pytest.fixture
async def writer(bus: Bus) -> MasterWorker:
    worker = MasterWorker(bus, name="w1", partitions=range(4))
    await worker.start()
    return worker


async def joined(bus: Bus, name: str = "w2") -> MasterWorker:
    worker = MasterWorker(bus, name=name, partitions=())
    await worker.start()
    return worker


async def dead(bus: Bus) -> Member:
    member = Member(id="gone", role="gateway", url=f"http://127.0.0.1:{unused_port()}")
    await bus.workers[0].writer.announce(member)
    return member


def to(value: Any) -> Any:
    return lambda _: value


class TestPrecondition:
    ENTRY = Entry("priority", "global", {"priority": 1}, 0)

    @pytest.mark.parametrize(
        ("condition", "entry", "holds"),
        [
            (Precondition(), None, True),
            (Precondition(), ENTRY, True),
            (Precondition(absent=True), None, True),
            (Precondition(absent=True), ENTRY, False),
            (Precondition(frozenset({"*"})), ENTRY, True),
            (Precondition(frozenset({"*"})), None, False),
            (Precondition(frozenset({'"other"', ENTRY.etag})), ENTRY, True),
            (Precondition(frozenset({'"other"'})), ENTRY, False),
        ],
    )
    def test_holds(self, condition: Precondition, entry: Entry | None, holds: bool) -> None:
        if holds:
            condition.check(entry)
        else:
            with pytest.raises(PreconditionFailed):
                condition.check(entry)


class TestChange:
    async def test_is_read_back_before_it_is_answered(self, writer: MasterWorker) -> None:
        written = await writer.writer.change("priority", "event/a.dev/x/1/y", to({"priority": 9}))
        assert written.before is None
        assert written.entry is not None
        assert (written.entry.value, written.offset) == ({"priority": 9}, writer.log.config.offset)
        assert writer.log.config.priorities == {"event/a.dev/x/1/y": 9}

    async def test_decides_on_what_stands(self, writer: MasterWorker) -> None:
        def more(entry: Entry | None) -> Any:
            return {"priority": 0 if entry is None else entry.value["priority"] + 1}

        await asyncio.gather(*(writer.writer.change("priority", "global", more) for _ in range(8)))
        assert writer.log.config.priorities == {"global": 7}

    async def test_none_deletes(self, writer: MasterWorker) -> None:
        await writer.writer.change("priority", "global", to({"priority": 9}))
        written = await writer.writer.change("priority", "global", to(None))
        assert written.before is not None
        assert written.entry is None
        assert writer.bus.records[-1] == ("priority/global", None)

    async def test_what_is_refused_is_not_written(self, writer: MasterWorker) -> None:
        def refuse(_: Entry | None) -> Any:
            raise NotFound("there is none")

        before = list(writer.bus.records)
        with pytest.raises(NotFound):
            await writer.writer.change("priority", "global", refuse)
        with pytest.raises(PreconditionFailed):
            await writer.writer.change("priority", "global", to({}), expect=Precondition(frozenset({"*"})))
        assert writer.bus.records == before

    async def test_only_by_the_owner_of_partition_0(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        with pytest.raises(Unavailable):
            await other.writer.change("priority", "global", to({"priority": 9}))
        other.owned = frozenset({0})
        await other.announce()
        assert other.writer.writes_here
        assert not writer.writer.writes_here

    async def test_an_offset_that_is_never_read_back(self, writer: MasterWorker, monkeypatch: Any) -> None:
        monkeypatch.setattr(config_writer, "READ_BACK_SECONDS", 0.05)
        writer.reads_config = False
        with pytest.raises(Unavailable, match="read it back"):
            await writer.writer.change("priority", "global", to({"priority": 9}))


class TestReaders:
    async def test_all_have_read_it(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        written = await writer.writer.change("priority", "global", to({"priority": 9}))
        assert written.unread == ()
        assert other.log.config.priorities == {"global": 9}

    async def test_who_is_behind_is_named_and_the_write_stands(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        other.reads_config = False
        written = await writer.writer.change("priority", "global", to({"priority": 9}))
        assert written.unread == ("w2",)
        assert writer.log.config.priorities == {"global": 9}

    async def test_who_reads_meanwhile_is_waited_for(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        other.reads_config = False

        async def later() -> None:
            await asyncio.sleep(0.05)
            other.reads_config = True
            other.read_config()
            async with other.log._moved:
                other.log._moved.notify_all()

        reading = asyncio.create_task(later())
        assert (await writer.writer.change("priority", "global", to({"priority": 9}))).unread == ()
        await reading

    @pytest.mark.parametrize("body", ["no json", "[]", '{"reached": "yes"}'])
    async def test_an_answer_that_is_none_counts_as_unread(self, bus: Bus, writer: MasterWorker, body: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/internal/config", answer)
        async with TestServer(app) as server:
            odd = Member(id="odd", role="gateway", url=str(server.make_url("")))
            await writer.writer.announce(odd)
            assert (await writer.writer.change("priority", "global", to({"priority": 9}))).unread == ("odd",)

    async def test_who_refuses_is_not_live_and_not_named(self, bus: Bus, writer: MasterWorker) -> None:
        await dead(bus)
        assert (await writer.writer.change("priority", "global", to({"priority": 9}))).unread == ()


class TestSweep:
    async def test_who_refuses_for_long_is_taken_out(self, bus: Bus, writer: MasterWorker) -> None:
        await dead(bus)
        await writer.writer.sweep()
        bus.clock.move(BURY_SECONDS)
        await writer.writer.sweep()
        assert "gone" in writer.log.config.members
        bus.clock.move(1)
        await writer.writer.sweep()
        assert "gone" not in writer.log.config.members

    async def test_an_answer_in_between_starts_anew(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        port = other.server.port
        await other.server.close()
        await writer.writer.sweep()
        bus.clock.move(BURY_SECONDS - 1)
        app = web.Application()
        async with TestServer(app, port=port):
            await writer.writer.sweep()
        bus.clock.move(BURY_SECONDS - 1)
        await writer.writer.sweep()
        assert "w2" in writer.log.config.members

    async def test_only_the_writer_takes_out(self, bus: Bus, writer: MasterWorker) -> None:
        other = await joined(bus)
        await dead(bus)
        for _ in range(2):
            await other.writer.sweep()
            bus.clock.move(BURY_SECONDS + 1)
        assert "gone" in other.log.config.members
