"""One gateway process: its parts, wired together, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from aiohttp import web

from certes.clock import Clock, rfc3339
from certes.config import Config, ConfigLog, Member, encode
from certes.config_writer import ConfigProducer
from certes.errors import Fatal, Refused, Unavailable
from certes.gateway.app import internal_app, public_app
from certes.gateway.intake import Intake
from certes.gateway.lag import Lag
from certes.gateway.passing import Passing
from certes.gateway.publishers import Publishers
from certes.gateway.views import Views
from certes.log import EventLog
from certes.registry.cache import Registry
from certes.registry.client import RegistryClient
from certes.settings import Settings
from certes.topics import ensure_topics

logger = logging.getLogger(__name__)

PROBE_SECONDS = 2.0
#: How long requests that have been begun may take at the stop; an append answers sooner.
DRAIN_SECONDS = 10.0
#: Kafka is asked again after each of these many seconds, the last one again and again.
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


class Gateway:
    """A gateway. `on_fatal` hears why it must end; nothing of it is retried."""

    def __init__(
        self, settings: Settings, *, on_fatal: Callable[[BaseException], None], clock: Clock | None = None
    ) -> None:
        clock = clock or Clock()
        self._settings = settings
        self._clock = clock
        self._log = EventLog(kafka=settings.kafka, topic=settings.log.topic)
        self._config_log = ConfigLog(kafka=settings.kafka, topic=settings.log.config_topic, on_fatal=on_fatal)
        self._members = ConfigProducer(kafka=settings.kafka, topic=settings.log.config_topic)
        self._registry_client = RegistryClient(settings.registry)
        self._registry = Registry(self._registry_client, clock=clock)
        self._lag = Lag(
            workers=lambda: self._config().workers(),
            cluster_key=settings.cluster_key,
            most_seconds=settings.gateway.max_lag_seconds,
        )
        self._passing = Passing(self._workers)
        self._views = self._make_views()
        self._runners: list[web.AppRunner] = []
        self._returning: asyncio.Task[None] | None = None
        self._started = False
        self.url = ""

    def _make_views(self) -> Views:
        settings = self._settings
        intake = Intake(
            log=self._log,
            schemas=self._registry,
            config=self._config,
            cluster_key=settings.cluster_key,
            partitions=settings.log.partitions,
            clock=self._clock,
        )
        publishers = Publishers(config=self._config, admin_key=settings.admin.key.get_secret_value(), clock=self._clock)
        return Views(
            intake=intake,
            publishers=publishers,
            lag=self._lag,
            config=self._config,
            clock=self._clock,
            max_body_bytes=settings.gateway.max_body_bytes,
            ready={
                "kafka": self._log.answers,
                "config": self._has_config,
                "workers": self._has_workers,
                "registry": self._registry_answers,
            },
        )

    async def listen(self) -> None:
        """Open the public port: health answers at once, publishing after `start`. Raises Fatal when it is taken."""
        gateway = self._settings.gateway
        app = public_app(views=self._views, passing=self._passing, max_body_bytes=gateway.max_body_bytes)
        self.url = await self._open(app, gateway.bind, gateway.port)
        logger.info("listening at %s", self.url, extra={"action": "listen"})

    async def start(self) -> None:
        """Connect, waiting for Kafka as long as it takes. Raises Fatal."""
        await self._connect()
        gateway = self._settings.gateway
        internal = internal_app(self._config_log, self._settings.cluster_key)
        url = await self._open(internal, gateway.admin_bind, gateway.admin_port)
        self._member = Member(id=gateway.id, role="gateway", url=url, since=rfc3339(self._clock.now()))
        await self._announce()
        self._config_log.on_change.append(self._come_back)
        self._lag.start()
        self._started = True
        self._views.closed = None
        logger.info("taking events", extra={"action": "start"})

    async def stop(self) -> None:
        """Take nothing more, finish what has been begun, and go."""
        self._views.closed = "the gateway is stopping; call another one, or again"
        while self._runners:
            await self._runners.pop(0).cleanup()
        if self._started:
            self._started = False
            self._config_log.on_change.remove(self._come_back)
            await self._withdraw()
        await self._lag.stop()
        await self._passing.stop()
        await self._registry.close()
        await self._disconnect()

    async def _connect(self) -> None:
        pauses = iter(RETRY_SECONDS)
        pause, told = 0.0, False
        while True:
            try:
                await ensure_topics(self._settings.kafka, self._settings.log)
                await self._config_log.start()
                await self._log.start()
                await self._members.start()
            except Unavailable as error:
                if not told:
                    logger.warning("waiting for Kafka: %s", error, extra={"action": "start"})
                told = True
                await self._disconnect()
            else:
                return
            pause = next(pauses, pause)
            await asyncio.sleep(pause)

    async def _disconnect(self) -> None:
        await self._members.stop()
        await self._log.stop()
        await self._config_log.stop()

    async def _open(self, app: web.Application, host: str, port: int) -> str:
        """Listen. The address under which others reach it. Raises Fatal."""
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=DRAIN_SECONDS, auto_decompress=False
        )
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            raise Fatal(f"cannot listen at {host}:{port}: {error.strerror}") from error
        port = runner.addresses[0][1]
        name = socket.gethostname() if host in _ANY_ADDRESS else host
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    async def _announce(self) -> None:
        await self._members.append(f"member/{self._member.id}", encode(self._member.model_dump(mode="json")))

    def _come_back(self, _changed: frozenset[str]) -> None:
        """Announce again if somebody took this gateway for dead, or another of its name has said goodbye."""
        if self._member.id not in self._config().members and (self._returning is None or self._returning.done()):
            self._returning = asyncio.create_task(self._announce(), name="announce-again")
            self._returning.add_done_callback(_tell)

    async def _withdraw(self) -> None:
        try:
            await self._members.append(f"member/{self._member.id}", None)
        except Unavailable as error:
            logger.warning("could not say goodbye: %s", error, extra={"action": "stop"})

    def _config(self) -> Config:
        return self._config_log.config

    def _workers(self) -> Sequence[Member]:
        """Those that answered the last time come first."""
        return sorted(self._config().workers(), key=lambda one: one.id not in self._lag.answering)

    async def _has_config(self) -> bool:
        return self._started

    async def _has_workers(self) -> bool:
        return bool(self._lag.answering)

    async def _registry_answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._registry_client.versions("certes.readyz")
        except Refused:
            return True  # it says that there is no such subject
        except (Unavailable, TimeoutError):
            return False
        return True


def _tell(returning: asyncio.Task[None]) -> None:
    error = None if returning.cancelled() else returning.exception()
    logger.warning("announced again: %s", error or "done", extra={"action": "announce"})
