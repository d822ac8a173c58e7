from __future__ import annotations

import re
from datetime import date

import certes
from tests.packaging.conftest import ROOT

RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def releases() -> list[tuple[str, str]]:
    return RELEASE.findall((ROOT / "CHANGELOG.md").read_text())


def test_the_newest_release_is_this_version() -> None:
    assert releases()[0][0] == certes.__version__


def test_releases_are_in_order() -> None:
    days = [date.fromisoformat(day) for _, day in releases()]
    numbers = [tuple(map(int, number.split("."))) for number, _ in releases()]
    assert days == sorted(days, reverse=True)
    assert numbers == sorted(set(numbers), reverse=True)


def test_there_is_a_place_for_what_comes() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
