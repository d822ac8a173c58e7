"""The Faust application, with everything of this package in its place.

`create_faust_app` is for `agents/app.py` (`faust -A agents.app worker`) and for programs that run it themselves.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.types import AgentT, TopicT
from mode.types import ServiceT
from yarl import URL

from agents.transport import driver
from agents.transport.changelog import ChangelogWriter
from agents.transport.end import Die, die
from agents.transport.lease import Lease
from agents.transport.monitor import SilentMonitor, set_levels
from agents.transport.producer import Producer
from agents.transport.watchdog import Watchdog
from certes.clock import Clock
from tables import store
from tables.raw import RawSchema

QUEUED_CHUNKS = 16  # per topic: what is read ahead of the agent

WebService = Callable[["App"], ServiceT]


@dataclass(frozen=True, slots=True)
class Options:
    """Times in seconds. `kafka` is `host:port[,host:port...]`, `url` how others reach this worker's web service."""

    kafka: str
    data_dir: Path
    partitions: int
    name: str = "certes"
    replication: int = 1
    url: str = "http://127.0.0.1:9601"
    standby_replicas: int = 0
    commit_seconds: float = 0.5
    session_seconds: float = 10.0
    heartbeat_seconds: float = 2.0
    rebalance_seconds: float = 30.0
    request_seconds: float = 60.0


class Boot(BootStrategy):
    def server(self) -> Iterable[ServiceT]:
        return self._chain(super().server(), [cast("App", self.app).watchdog])

    def web_server(self) -> Iterable[ServiceT]:
        """Ours, already during recovery, whatever `--with-web` says; Faust's shows all tables to anybody."""
        web = cast("App", self.app).web_service
        return [] if web is None else [web(cast("App", self.app))]


class App(faust.App):
    BootStrategy = Boot

    def __init__(
        self, options: Options, *, web: WebService | None = None, clock: Clock | None = None, end: Die = die
    ) -> None:
        self.options = options
        self.web_service = web
        self.clock = clock or Clock()
        self.die = end
        self.lease = Lease(session_seconds=options.session_seconds, clock=self.clock, die=end)
        super().__init__(options.name, monitor=SilentMonitor(), **_settings(options))
        self.watchdog = Watchdog(self, clock=self.clock, die=end, beacon=self.beacon)

    @property
    def data_dir(self) -> Path:
        return self.options.data_dir

    @property
    def changelog(self) -> ChangelogWriter:
        return cast("Producer", self.producer).changelog

    @property
    def web_server_url(self) -> URL:
        return URL(self.options.url)

    @property
    def web_server_driver_version(self) -> str:
        return "certes"

    def log_topic(self, name: str) -> TopicT:
        """A topic that is read in chunks, see `chunks`. It is not created here."""
        return self.topic(
            name, schema=RawSchema(), partitions=self.options.partitions, maxsize=QUEUED_CHUNKS, allow_empty=True
        )

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:
        """An agent of the log must not skip what it failed on; one of a channel (the mailbox) is restarted by Faust."""
        if isinstance(agent.channel, TopicT):
            self.die(f"agent {agent.name} failed: {exc!r}")
        await super()._on_agent_error(agent, exc)

    async def on_started(self) -> None:
        await super().on_started()
        # What lives now stays: it need not be looked through again, and young garbage here is plenty and acyclic.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)

    def _create_directories(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        super()._create_directories()


def create_faust_app(
    options: Options, *, web: WebService | None = None, clock: Clock | None = None, end: Die = die
) -> App:
    """`web` makes the service that answers HTTP, it starts before recovery; `clock` and `end` are for tests."""
    driver.register()
    store.register()
    set_levels()
    return App(options, web=web, clock=clock, end=end)


def _settings(options: Options) -> dict[str, Any]:
    return {
        "broker": driver.broker_url(options.kafka),
        "store": f"{store.SCHEME}://",
        "datadir": options.data_dir,
        "canonical_url": options.url,
        "TableManager": "agents.transport.recovery:TableManager",
        "topic_partitions": options.partitions,
        "topic_replication_factor": options.replication,
        "topic_disable_leader": True,
        "table_standby_replicas": options.standby_replicas,
        "processing_guarantee": "at_least_once",
        "consumer_auto_offset_reset": "earliest",
        "stream_wait_empty": True,
        "stream_buffer_maxsize": QUEUED_CHUNKS,
        "broker_commit_interval": options.commit_seconds,
        "broker_session_timeout": options.session_seconds,
        "broker_heartbeat_interval": options.heartbeat_seconds,
        "broker_rebalance_timeout": options.rebalance_seconds,
        "producer_acks": -1,
        "producer_linger": 0.005,
        "producer_max_batch_size": 1 << 20,
        "producer_request_timeout": options.request_seconds,
        "web_enabled": False,
        "web_tables_enabled": False,
        "web_router_enabled": False,
    }
