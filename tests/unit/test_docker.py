"""The container files name what exists: settings, roles, folders, and the Kafka that `certes dev` runs, too."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from certes import logs
from certes.dev import artifacts
from certes.settings import Settings
from tests.apps.variables import variables

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", "")
ROLES = ("gateway", "worker")
NAME = re.compile(r"CERTES_[A-Z_]+")


def environment(role: str) -> dict[str, str]:
    """As compose fills it in; `${NAME:?...}` is what the operator gives."""
    given = {"CERTES_CLUSTER__KEY": base64.b64encode(b"k" * 32).decode(), "CERTES_ADMIN__KEY": "key_admin"}
    found: dict[str, Any] = COMPOSE["services"][role]["environment"]
    return {name: given[name] if str(value).startswith("${") else str(value) for name, value in found.items()}


def instructions(word: str) -> list[list[str]]:
    lines = [line.split(None, 1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    return [shlex.split(rest) for name, rest in lines if name == word]


@pytest.mark.parametrize("text", [DOCKERFILE, (ROOT / "docker" / "compose.yaml").read_text()])
def test_every_variable_is_a_setting(text: str) -> None:
    named = set(NAME.findall(text))
    assert named
    assert named <= {*variables(Settings), logs.FORMAT}


@pytest.mark.parametrize("role", ROLES)
def test_settings_can_be_read_from_it(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(role).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.kafka, settings.registry) == ("kafka:9092", "http://registry:8081")
    assert settings.cluster_key
    assert getattr(settings, role).bind == "0.0.0.0"


def test_both_roles_share_their_secrets() -> None:
    shared = ("CERTES_KAFKA", "CERTES_REGISTRY", "CERTES_CLUSTER__KEY", "CERTES_ADMIN__KEY")
    first, second = (COMPOSE["services"][role]["environment"] for role in ROLES)
    assert all(first[name] == second[name] for name in shared)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_waits_for_what_it_needs_and_gets_its_signals(role: str) -> None:
    service = COMPOSE["services"][role]
    assert service["command"] == [role]
    assert service["init"] is True
    assert {name: how["condition"] for name, how in service["depends_on"].items()} == {
        "kafka": "service_healthy",
        "registry": "service_healthy",
    }
    assert "/readyz" in service["healthcheck"]["test"][-1]


def test_only_the_gateway_is_reachable_from_outside() -> None:
    published = {name: one["ports"] for name, one in COMPOSE["services"].items() if "ports" in one}
    assert published == {"gateway": ["9600:9600"]}


def test_every_service_is_watched_and_every_volume_known() -> None:
    for service in COMPOSE["services"].values():
        assert "healthcheck" in service
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_kafka_is_the_one_that_certes_dev_runs() -> None:
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{artifacts.KAFKA.version}"


def test_the_worker_keeps_its_store_on_the_volume() -> None:
    (store,) = [one for one in COMPOSE["services"]["worker"]["volumes"] if one.startswith("worker:")]
    assert f"CERTES_WORKER__DATA_DIR={store.removeprefix('worker:')}" in DOCKERFILE


def test_the_image_is_built_of_what_is_there_and_allowed_in() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for copy in instructions("COPY") if not copy[0].startswith("--") for source in copy[:-1]}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_does_not_run_as_root() -> None:
    assert instructions("USER") == [["certes"]]
