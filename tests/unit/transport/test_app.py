from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.sensors import Monitor
from faust.transport import by_url
from mode import Service

from agents.transport.app import Options, create_faust_app
from agents.transport.driver import Transport, broker_url
from agents.transport.monitor import SilentMonitor
from tests.apps.ended import Ended, end


class Web(Service):
    def __init__(self, app: Any) -> None:
        super().__init__()
        self.app = app


def made(tmp_path: Path, **kwargs: Any) -> Any:
    return create_faust_app(
        Options(kafka="a:1,b:2", data_dir=tmp_path / "deep" / "data", partitions=3), end=end, **kwargs
    )


def services_of(app: Any) -> list[Any]:
    services = list(app.boot_strategy.server())
    app.consumer._thread.thread_loop.close()  # the loop of a thread that is never started
    return services


async def test_the_brokers_are_reached_by_our_transport(tmp_path: Path) -> None:
    app = made(tmp_path)
    assert broker_url("a:1, b:2") == "certes://a:1;certes://b:2"
    assert by_url(app.conf.broker[0]) is Transport


async def test_the_web_service_starts_before_the_consumer_and_faust_s_own_never(tmp_path: Path) -> None:
    app = made(tmp_path, web=Web)
    app.conf.web_enabled = True  # what the command line does by default
    services = services_of(app)
    places = {type(service).__name__: place for place, service in enumerate(services)}
    assert places["Producer"] < places["Web"] < places["Consumer"] < places["TableManager"] < places["Watchdog"]
    assert [service.app for service in services if isinstance(service, Web)] == [app]
    assert app.web_server_url.port == 9601


async def test_without_a_web_service_there_is_none(tmp_path: Path) -> None:
    app = made(tmp_path)
    app.conf.web_enabled = True
    assert app.web not in services_of(app)


async def test_an_agent_of_the_log_ends_the_worker_with_its_error(tmp_path: Path) -> None:
    app = made(tmp_path)
    agent = SimpleNamespace(name="broker", channel=app.log_topic("log"))
    with pytest.raises(Ended, match=r"agent broker failed: ValueError\('no'\)"):
        await app._on_agent_error(agent, ValueError("no"))


async def test_an_agent_of_the_mailbox_is_left_to_faust(tmp_path: Path) -> None:
    app = made(tmp_path)
    await app._on_agent_error(SimpleNamespace(name="consumer", channel=app.channel()), ValueError("no"))


async def test_directories_are_made(tmp_path: Path) -> None:
    app = made(tmp_path)
    app._create_directories()
    assert app.data_dir.is_dir()


async def test_the_monitor_keeps_quiet_about_what_faust_s_would_count() -> None:
    hooks = {
        name for name in vars(SilentMonitor) if not name.startswith("_") and callable(getattr(SilentMonitor, name))
    }
    assert {"on_message_in", "on_stream_event_in", "on_send_completed"} <= hooks
    assert all(hasattr(Monitor, name) for name in hooks)
    monitor: Any = SilentMonitor()
    monitor.on_message_in("tp", 1, None)
    assert monitor.on_stream_event_in("tp", 1, None, None) is None
    assert monitor.messages_received_total == 0


async def test_log_topics_are_bounded_in_chunks_and_explicitly_named(tmp_path: Path) -> None:
    topic: Any = made(tmp_path).log_topic("certes.events")
    assert isinstance(topic, faust.Topic)
    assert (topic.get_topic_name(), topic.partitions, topic.queue.maxsize) == ("certes.events", 3, 16)
