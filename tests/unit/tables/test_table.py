from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

from agents.transport.app import Options, create_faust_app
from certes.errors import TooLarge
from tables.table import Table
from tests.apps.counting import build, row


class FakeStore:
    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, bytes | None]] = []

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        self.rows.append((partition, key, value))

    def set_persisted_offset(self, tp: TP, offset: int) -> None: ...


class FakeLane:
    def __init__(self, tp: TP, rows: list[Any]) -> None:
        self.tp, self.rows = tp, rows

    def add(self, key: bytes, value: bytes | None) -> None:
        self.rows.append((self.tp, key, value))


class FakeChangelog:
    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.lanes: list[TP] = []

    def lane(self, tp: TP, _acked: Any) -> FakeLane:
        self.lanes.append(tp)
        return FakeLane(tp, self.rows)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    app, made = build(Options(kafka="127.0.0.1:1", data_dir=tmp_path, partitions=3, name="app"), topic="log")
    monkeypatch.setattr(type(app), "changelog", FakeChangelog())
    made._data = FakeStore()
    return made


def test_a_row_goes_to_store_and_changelog(table: Any) -> None:
    table.put(2, b"a", row(1, "x"))
    table.put(2, b"a", None)
    assert table.data.rows == [(2, b"a", row(1, "x")), (2, b"a", None)]
    tp = TP("app-counts-changelog", 2)
    assert table.app.changelog.rows == [(tp, b"a", row(1, "x")), (tp, b"a", None)]
    assert table.app.changelog.lanes == [tp]


def test_a_row_over_the_limit_is_refused_with_nothing_written(table: Any) -> None:
    table.put(0, b"k", b"x" * (table.row_bytes - 1))
    with pytest.raises(TooLarge, match="262145 bytes, at most 262144"):
        table.put(0, b"k", b"x" * table.row_bytes)
    assert len(table.data.rows) == len(table.app.changelog.rows) == 1


def test_writing_without_a_partition_is_refused(table: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"table\.put"):
        table.on_key_set(b"a", b"b")
    with pytest.raises(NotImplementedError, match=r"table\.put"):
        table.on_key_del(b"a")


def test_the_changelog_outlives_the_log_and_keeps_tombstones(table: Table) -> None:
    topic = table.changelog_topic
    assert topic.get_topic_name() == "app-counts-changelog"
    assert topic.partitions == 3
    assert topic.config == {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(2 * 86_400_000),
        "min.compaction.lag.ms": "3600000",
        "delete.retention.ms": str(8 * 86_400_000),
    }


def test_the_app_keeps_the_settings_that_correctness_rests_on(tmp_path: Path) -> None:
    app = create_faust_app(Options(kafka="a:1,b:2", data_dir=tmp_path, partitions=3))
    conf = app.conf
    assert [str(url) for url in conf.broker] == ["certes://a:1", "certes://b:2"]
    assert conf.stream_wait_empty
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.broker_session_timeout == 10
    assert not any([conf.web_tables_enabled, conf.web_router_enabled, conf.producer_threaded])
    assert not app.in_transaction
