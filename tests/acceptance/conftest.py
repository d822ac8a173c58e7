"""One `certes dev` for the session, and others for tests that kill it, all on the Kafka and registry of the session."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.bus import Bus, Dev


@pytest.fixture(scope="session")
def bus(kafka: str, registry_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """The topics of this one have their usual names: stock producers know no others."""
    dev = Dev(tmp_path_factory.mktemp("bus") / "dev", "--kafka", kafka, "--registry", registry_url)
    yield dev.start()
    dev.stop()


@pytest.fixture
def make_dev(kafka: str, registry_url: str, tmp_path: Path) -> Iterator[Callable[..., tuple[Dev, Bus]]]:
    """`make_dev(*options)` starts a `certes dev` with topics of its own."""
    made: list[Dev] = []

    def make(*options: str) -> tuple[Dev, Bus]:
        prefix = f"t{uuid.uuid4().hex[:8]}"
        env = {
            "CERTES_LOG__TOPIC": f"{prefix}.events",
            "CERTES_LOG__CONFIG_TOPIC": f"{prefix}.config",
            "CERTES_LOG__APP": prefix,
            "CERTES_LOG__PARTITIONS": "4",
        }
        dev = Dev(tmp_path / prefix, "--kafka", kafka, "--registry", registry_url, *options, env=env)
        made.append(dev)
        return dev, dev.start()

    yield make
    for dev in made:
        dev.stop()


@pytest.fixture
def own_dev(make_dev: Callable[..., tuple[Dev, Bus]]) -> tuple[Dev, Bus]:
    return make_dev()
