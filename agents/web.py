"""The Master API in a worker: it is started before recovery, and asks the parts for what it shows."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp import web

from agents.membership import Membership
from agents.transport.recovery import Recovery
from certes.access import cluster_token
from certes.api import create_api
from certes.api.cluster import ACTOR, HOP
from certes.api.ports import Deps, Status
from certes.config_writer import ConfigProducer, ConfigWriter
from certes.errors import Gone, Unavailable
from certes.event import EventRow
from schemas.own import OwnCodec
from tables.views import TableViews

if TYPE_CHECKING:
    from agents.worker import Worker

logger = logging.getLogger(__name__)

DISABLE = aiohttp.ClientTimeout(total=5)


class Readback:
    """Payloads, and handlers' answers out of the outcome records."""

    def __init__(self, worker: Worker) -> None:
        self._payloads = worker.payloads
        self._reader = worker.reader
        self._codec = OwnCodec()

    async def value(self, row: EventRow) -> bytes:
        return await self._payloads.value(row)

    async def outcome_response(
        self, partition: int, offset: int, *, event: str, subscription: str, attempt: int
    ) -> str:
        """Raises Gone, Unavailable."""
        value = await self._reader.value(partition, offset)
        try:
            outcomes = self._codec.outcomes(value or b"")
        except ValueError:
            outcomes = ()
        for one in outcomes:
            if (one.event, one.subscription, one.attempt) == (event, subscription, attempt):
                return one.response
        raise Gone("the outcome is no longer in the log: its retention has passed")


class Web:
    """Listens on the worker's address, and tells the others where that is."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        log = worker.settings.log
        self._producer = ConfigProducer(kafka=worker.settings.kafka, topic=log.config_topic)
        self.membership: Membership
        self._session: aiohttp.ClientSession
        self._runner: web.AppRunner

    async def start(self) -> None:
        worker, settings = self._worker, self._worker.settings
        await self._producer.start()
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        writer = ConfigWriter(
            log=worker.config_log,
            append=self._producer.append,
            session=self._session,
            cluster_key=settings.cluster_key,
            member_id=settings.worker.id,
            clock=worker.clock,
        )
        self._runner = web.AppRunner(create_api(self._deps(writer)), access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, settings.worker.bind, settings.worker.port).start()
        self.membership = Membership(
            writer=writer,
            config=lambda: worker.config_log.config,
            member_id=settings.worker.id,
            url=worker.app.options.url,
            clock=worker.clock,
        )
        self.membership.start()

    async def stop(self) -> None:
        await self.membership.stop()
        await self._runner.cleanup()
        await self._session.close()
        await self._producer.stop()

    async def disable(self, subscription: str, reason: str) -> None:
        """Let the writer of the configuration disable a subscription. Raises Unavailable when it does not."""
        writer = self._worker.config_log.config.owner(0)
        if writer is None:
            raise Unavailable("nobody writes the configuration at the moment")
        token = cluster_token(self._worker.settings.cluster_key)
        headers = {"authorization": f"Bearer {token}", HOP: "1", ACTOR: "certes"}
        url = f"{writer.url.rstrip('/')}/api/subscriptions/{subscription}"
        try:
            async with self._session.patch(url, json={"enabled": False}, headers=headers, timeout=DISABLE) as answer:
                if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                    raise Unavailable(f"worker {writer.id} answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"worker {writer.id} does not answer: {error!r}") from error
        logger.warning("subscription %s is disabled: %s", subscription, reason, extra={"action": "disable"})

    def _deps(self, writer: ConfigWriter) -> Deps:
        worker = self._worker
        return Deps(
            settings=worker.settings,
            config_log=worker.config_log,
            config_writer=writer,
            clock=worker.clock,
            tables=TableViews(
                events=worker.events,
                backoffs=worker.backoffs,
                owned=lambda: worker.broker.partitions,
                folded=worker.broker.folded,
                end=worker.last,
            ),
            payloads=Readback(worker),
            registry=worker.registry,
            status=self._status,
            send_command=worker.send_command,
            is_running=worker.mailbox.is_running,
            session=self._session,
        )

    def _status(self) -> Status:
        worker = self._worker
        recovery = cast("Recovery", worker.app.tables.recovery)  # type: ignore[attr-defined]  # not in Faust's types
        down = worker.registry.down_since is not None
        return Status(
            ready=worker.ready,
            unavailable=("registry",) if down else (),
            recovery={} if worker.ready else {"rows_left": recovery.active_remaining_total()},
            lag_seconds=worker.broker.lag_ms() / 1000,
            lag=worker.broker.behind(),
            in_flight=worker.mailbox.running,
            mailbox=len(worker.mailbox),
            fold=worker.broker.fold.counts,
        )
