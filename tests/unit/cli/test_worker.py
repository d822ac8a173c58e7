from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from pathlib import Path

import pytest
import typer

import certes
from certes import topics
from certes.errors import Fatal, Unavailable
from certes.settings import Settings

#: Not `from certes.cli import worker`: that is the command, of the same name.
worker = importlib.import_module("certes.cli.worker")


def test_home_in_the_repository_is_its_root() -> None:
    assert (worker.home() / "agents" / "app.py").is_file()
    assert worker.home() == Path(certes.__file__).parents[1]


def test_home_of_an_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certes" / "_worker").mkdir(parents=True)
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "certes" / "cli" / "worker.py"))
    assert worker.home() == tmp_path / "certes" / "_worker"


class TestFind:
    def test_an_app(self) -> None:
        assert worker.find("os:environ") is os.environ

    @pytest.mark.parametrize("path", ["os", "os:", "os:no_such_name", "no_such_module:app", "os.no_such_module:app"])
    def test_wrong_usage(self, path: str) -> None:
        with pytest.raises(typer.BadParameter):
            worker.find(path)

    def test_a_module_that_it_needs_and_misses_is_not_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "needs_more.py").write_text("import no_such_module_at_all\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            worker.find("needs_more:app")


def test_the_command_imports_no_faust() -> None:
    assert "faust" not in vars(worker)
    assert "faust" not in vars(sys.modules["certes.cli"])


class TestWaitForKafka:
    async def test_it_says_so_once_and_goes_on_when_kafka_is_there(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        answers = [Unavailable("Kafka k:9092 does not answer"), Unavailable("Kafka k:9092 does not answer"), None]

        async def ensure_topics(*_: object) -> None:
            answer = answers.pop(0)
            if answer is not None:
                raise answer

        monkeypatch.setattr(topics, "ensure_topics", ensure_topics)
        monkeypatch.setattr(worker, "PAUSE_SECONDS", 0)
        with caplog.at_level(logging.WARNING, "certes"):
            await asyncio.wait_for(worker.wait_for_kafka(Settings()), 5)
        assert answers == []
        assert [one.getMessage() for one in caplog.records] == ["waiting for Kafka: Kafka k:9092 does not answer"]

    async def test_a_topic_that_cannot_be_used_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def ensure_topics(*_: object) -> None:
            raise Fatal("the topic has 3 partitions")

        monkeypatch.setattr(topics, "ensure_topics", ensure_topics)
        with pytest.raises(Fatal, match="3 partitions"):
            await worker.wait_for_kafka(Settings())
