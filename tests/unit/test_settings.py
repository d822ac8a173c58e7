from __future__ import annotations

import base64
import os
import socket
from pathlib import Path

import pytest

from certes.errors import Fatal
from certes.settings import Settings

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("CERTES_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    assert Settings.load().model_dump(mode="json") == {
        "kafka": "127.0.0.1:9092",
        "registry": "http://127.0.0.1:8081",
        "log": {
            "topic": "certes.events",
            "config_topic": "certes.config",
            "app": "certes",
            "partitions": 12,
            "replication": 1,
            "retention_seconds": 1_209_600.0,
        },
        "cluster": {"key": ""},
        "admin": {"key": ""},
        "worker": {
            "id": socket.gethostname(),
            "bind": "127.0.0.1",
            "port": 9601,
            "url": "",
            "data_dir": ".certes/workers/1",
            "actors": 512,
            "standby_replicas": 0,
            "commit_seconds": 0.5,
            "session_seconds": 10.0,
            "payload_bytes": 67_108_864,
        },
        "gateway": {
            "id": f"gateway@{socket.gethostname()}",
            "bind": "127.0.0.1",
            "port": 9600,
            "admin_bind": "127.0.0.1",
            "admin_port": 0,
            "max_body_bytes": 1_048_576,
            "max_lag_seconds": 2.0,
        },
        "delivery": {"timeout_seconds": 15.0, "allow_private": [], "response_bytes": 4096},
        "schemas": {"domain": "", "wait_seconds": 60.0},
    }
    assert Settings.load().cluster_key == b""


def test_the_environment_names_groups_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTES_KAFKA", "kafka:9092")
    monkeypatch.setenv("CERTES_REGISTRY", "http://registry")
    monkeypatch.setenv("CERTES_WORKER__PORT", "0")
    monkeypatch.setenv("CERTES_WORKER__DATA_DIR", "/data")
    monkeypatch.setenv("CERTES_LOG__PARTITIONS", "3")
    monkeypatch.setenv("CERTES_DELIVERY__ALLOW_PRIVATE", '["10.0.0.0/8"]')
    monkeypatch.setenv("CERTES_CLUSTER__KEY", KEY)
    monkeypatch.setenv("CERTES_URL", "http://gateway")  # for clients; no setting of servers
    settings = Settings.load()
    assert (settings.kafka, settings.registry) == ("kafka:9092", "http://registry")
    assert (settings.worker.port, settings.worker.data_dir, settings.worker.actors) == (0, Path("/data"), 512)
    assert (settings.log.partitions, settings.delivery.allow_private) == (3, ["10.0.0.0/8"])
    assert settings.cluster_key == b"k" * 32


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTES_CLUSTER__KEY", KEY)
    monkeypatch.setenv("CERTES_ADMIN__KEY", "key_topsecret")
    settings = Settings.load()
    assert settings.admin.key.get_secret_value() == "key_topsecret"
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in text
        assert "topsecret" not in text


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CERTES_WORKER__PORT", "http", "CERTES_WORKER__PORT: Input should be a valid integer"),
        ("CERTES_WORKER__PORT", "65536", "CERTES_WORKER__PORT: Input should be less than or equal to 65535"),
        ("CERTES_LOG__RETENTION_SECONDS", "1", "CERTES_LOG__RETENTION_SECONDS: .* greater than or equal to 60"),
        ("CERTES_GATEWAY__MAX_BODY_BYTES", "2000000", "CERTES_GATEWAY__MAX_BODY_BYTES"),
        ("CERTES_CLUSTER__KEY", "topsecret!", "CERTES_CLUSTER__KEY: .*must be base64.*openssl rand"),
        ("CERTES_CLUSTER__KEY", "topsecreté", "CERTES_CLUSTER__KEY: .*must be base64"),
        ("CERTES_CLUSTER__KEY", "dG9wc2VjcmV0", "CERTES_CLUSTER__KEY: .*at least 32 bytes"),
        ("CERTES_DELIVERY__ALLOW_PRIVATE", "10.0.0.0/8", "must be JSON is none: .*delivery"),
        ("CERTES_WORKER", "topsecret", "must be JSON is none: .*worker"),
    ],
)
def test_a_bad_value_names_its_variable_and_does_not_tell_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Fatal, match=reason) as refused:
        Settings.load()
    assert "topsecret" not in str(refused.value)
    with pytest.raises(ValueError) as raw:
        Settings()
    assert "topsecret" not in str(raw.value)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTES_WORKER__PORT", "x")
    monkeypatch.setenv("CERTES_GATEWAY__PORT", "y")
    with pytest.raises(Fatal, match=r"CERTES_WORKER__PORT: .*; CERTES_GATEWAY__PORT: "):
        Settings.load()
