from __future__ import annotations

import base64
import logging
from collections.abc import Iterator

import pytest
import typer

from certes.cli.configuration import load
from certes.errors import Fatal

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as end:
        load("worker")
    assert end.value.exit_code == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    return written.err


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTES_CLUSTER__KEY", KEY)
    monkeypatch.setenv("CERTES_KAFKA", "kafka:9092")
    assert load("worker").kafka == "kafka:9092"


def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CERTES_LOG__PARTITIONS", "many")
    monkeypatch.setenv("CERTES_WORKER__PORT", "-1")
    said = refused(capsys)
    assert said.startswith("certes worker: ")
    assert "CERTES_LOG__PARTITIONS: " in said
    assert "CERTES_WORKER__PORT: " in said


def test_a_secret_that_is_wrong_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CERTES_CLUSTER__KEY", "hunter2!")
    said = refused(capsys)
    assert "CERTES_CLUSTER__KEY: " in said
    assert "hunter2" not in said


def test_no_cluster_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CERTES_CLUSTER__KEY", raising=False)
    with pytest.raises(Fatal, match="CERTES_CLUSTER__KEY is missing"):
        load("worker")


def test_a_log_format_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CERTES_LOG_FORMAT", "xml")
    assert "CERTES_LOG_FORMAT must be text or json" in refused(capsys)
