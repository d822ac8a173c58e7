"""The Faust app of a worker, where all parts meet: `faust -A agents.app worker -l info`, or `certes worker`."""

from __future__ import annotations

from typing import Any

from mode import Service

from agents.consumer import consume
from agents.transport import driver
from agents.transport.app import App, Options
from agents.transport.chunk import chunks
from agents.transport.monitor import set_levels
from agents.worker import Worker
from certes.settings import Settings
from tables import backoffs, events, store
from tables.table import add_table


class Certes(App):
    """A Faust app with a worker's parts. Calls in flight end before the Kafka consumer stops."""

    worker: Worker

    async def on_stop(self) -> None:
        await self.worker.drain()
        await super().on_stop()


class Parts(Service):
    """Starts the worker's parts before recovery, so that the Master API answers meanwhile."""

    def __init__(self, app: App, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app

    async def on_start(self) -> None:
        if not self._worker.settings.cluster_key:
            self._app.die("CERTES_CLUSTER__KEY is missing; all workers and gateways share one: openssl rand -base64 32")
        await self._worker.start()

    async def on_stop(self) -> None:
        await self._worker.stop()

    @property
    def _worker(self) -> Worker:
        assert isinstance(self._app, Certes)
        return self._app.worker


def create_app(settings: Settings) -> Certes:
    """A worker, ready to be started."""
    driver.register()
    store.register()
    set_levels()
    app = Certes(_options(settings), web=Parts)
    retention = settings.log.retention_seconds
    tables = {
        name: add_table(
            app,
            name=name,
            projection=projection,
            partitions=settings.log.partitions,
            log_retention_seconds=retention,
        )
        for name, projection in (
            (events.NAME, events.EventsProjection()),
            (backoffs.NAME, backoffs.BackoffsProjection()),
        )
    }
    app.worker = Worker(settings, app=app, events=tables[events.NAME], backoffs=tables[backoffs.NAME])
    _connect(app, settings.log.topic)
    return app


def _connect(app: Certes, topic: str) -> None:
    worker = app.worker

    @app.agent(app.log_topic(topic), name="broker")
    async def broker(stream: Any) -> None:
        async for chunk in chunks(stream):
            await worker.broker.take(chunk.partition, chunk.records)

    @app.agent(worker.letters, name="consumer", concurrency=worker.settings.worker.actors)
    async def consumer(letters: Any) -> None:
        await consume(letters, worker.consumer)

    @worker.events.on_recover
    async def recovered() -> None:
        await worker.rebuild(tp.partition for tp in app.assignor.assigned_actives() if tp.topic == topic)

    @app.on_partitions_revoked.connect  # type: ignore[arg-type]  # Faust's types forget what the signal sends
    async def left(_app: Any, revoked: Any, **_kwargs: Any) -> None:
        worker.left(tp.partition for tp in revoked if tp.topic == topic)


def _options(settings: Settings) -> Options:
    worker = settings.worker
    return Options(
        kafka=settings.kafka,
        data_dir=worker.data_dir,
        partitions=settings.log.partitions,
        name=settings.log.app,
        replication=settings.log.replication,
        url=worker.url or f"http://{worker.bind}:{worker.port}",
        standby_replicas=worker.standby_replicas,
        commit_seconds=worker.commit_seconds,
        session_seconds=worker.session_seconds,
    )


app = create_app(Settings.load())
