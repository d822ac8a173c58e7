from __future__ import annotations

import pytest

from certes.errors import Fatal
from certes.settings import Log
from certes.topics import Found, deviations, topics_of

EVENTS, CONFIG = topics_of(Log(partitions=12, retention_seconds=3600))


def found(partitions: int = 12, **changes: str) -> Found:
    return Found(partitions, {**EVENTS.settings, **{name.replace("_", "."): to for name, to in changes.items()}}, {})


def test_the_topics_are_as_designed() -> None:
    assert (EVENTS.name, EVENTS.partitions, CONFIG.name, CONFIG.partitions) == ("certes.events", 12, "certes.config", 1)
    assert EVENTS.settings == {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "3600000",
        "retention.bytes": "-1",
        "max.message.bytes": "2097152",
    }
    assert CONFIG.settings["cleanup.policy"] == "compact"
    assert topics_of(Log(replication=3))[0].initial == {"min.insync.replicas": "2"}


def test_nothing_to_correct() -> None:
    assert deviations(EVENTS, found()) == {}
    ratio = {**CONFIG.settings, "min.cleanable.dirty.ratio": "0.10"}
    assert deviations(CONFIG, Found(1, ratio, {})) == {}


@pytest.mark.parametrize("name", sorted(EVENTS.settings))
def test_each_setting_is_checked(name: str) -> None:
    settings = {**EVENTS.settings, name: "other"}
    assert deviations(EVENTS, Found(12, settings, {})) == {name: EVENTS.settings[name]}
    del settings[name]
    assert deviations(EVENTS, Found(12, settings, {})) == {name: EVENTS.settings[name]}


def test_another_number_of_partitions_says_how_to_move() -> None:
    with pytest.raises(Fatal, match=r"CERTES_LOG__PARTITIONS=3.*CERTES_LOG__TOPIC"):
        deviations(EVENTS, found(3))
    with pytest.raises(Fatal, match="exactly one"):
        deviations(CONFIG, Found(2, CONFIG.settings, {}))
    with pytest.raises(Fatal, match="does not exist"):
        deviations(EVENTS, found(0))
