"""The texts and command lines that Kafka, the registry and our own roles are started with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from certes.dev import artifacts, kafka, plan, registry
from certes.dev.directory import Directory, Secrets
from certes.errors import Fatal
from certes.settings import Settings


def test_kafka_advertises_the_port_it_listens_on() -> None:
    lines = kafka.properties(port=4711, controller_port=4712).splitlines()
    assert "listeners=PLAINTEXT://127.0.0.1:4711,CONTROLLER://127.0.0.1:4712" in lines
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:4711" in lines
    assert "controller.quorum.voters=1@127.0.0.1:4712" in lines
    assert "auto.create.topics.enable=false" in lines


def test_the_registry_listens_on_loopback_only() -> None:
    settings = registry.settings(4711)
    assert settings["quarkus.http.host"] == settings["quarkus.management.host"] == "127.0.0.1"
    assert settings["quarkus.http.port"] == "4711"


def test_roles_get_what_settings_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory, secrets = Directory(tmp_path), Secrets.new()
    options = plan.Options(directory=tmp_path, workers=2, port=0, kafka="127.0.0.1:1", registry="http://127.0.0.1:2")

    async def all_is_well(_address: str) -> None:
        return None

    monkeypatch.setattr("certes.dev.probes.kafka", all_is_well)
    monkeypatch.setattr("certes.dev.probes.http", all_is_well)
    made = plan.make(options, directory, secrets)
    gateway, first, second = made.stages[1]
    assert (made.stages[0], gateway.argv[-1], first.argv[-1], second.name) == ([], "gateway", "worker", "worker-2")

    for name, value in (gateway.env | second.env).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.kafka, settings.registry) == (options.kafka, options.registry)
    assert settings.admin.key.get_secret_value() == secrets.admin_key
    assert len(settings.cluster_key) == 32
    assert settings.delivery.allow_private == ["127.0.0.0/8", "::1/128"]
    assert made.addresses.gateway == f"http://127.0.0.1:{settings.gateway.port}"
    assert made.addresses.workers[1] == f"http://127.0.0.1:{settings.worker.port}"
    assert (settings.worker.id, settings.worker.data_dir) == ("worker-2", tmp_path / "workers" / "2")
    assert json.loads((tmp_path / "ports.json").read_text())["gateway"] == settings.gateway.port


def test_a_failed_download_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: object) -> list[Path]:
        raise ConnectionError("unreachable")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(artifacts, "_download", no_network)
    with pytest.raises(Fatal, match=r"cannot download Apache Kafka .*: no connection\n.*--kafka HOST:PORT"):
        artifacts.obtain(artifacts.KAFKA)
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "certes" / artifacts.KAFKA.folder).exists()


def test_a_whole_download_is_used_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []

    def download(into: Path, *_: object) -> list[Path]:
        calls.append(into)
        into.mkdir()
        (into / "a.jar").touch()
        return [into / "a.jar", into / "a.jar"]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(artifacts, "_download", download)
    folder = artifacts.obtain(artifacts.KAFKA)
    assert artifacts.obtain(artifacts.KAFKA) == folder
    assert artifacts.classpath(folder) == os.pathsep.join([str(folder / "a.jar")] * 2)
    assert len(calls) == 1
