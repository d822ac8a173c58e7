from __future__ import annotations

from pathlib import Path

import pytest

from certes.dev import memory
from certes.errors import Fatal


def test_the_default_stack_needs_about_a_gigabyte() -> None:
    assert 1000 <= memory.needed(java=2, python=2) <= 1200


def test_the_smaller_of_machine_and_container_counts(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
    assert memory.available(proc, tmp_path) == 4096
    (tmp_path / "memory.max").write_text("1073741824\n")
    (tmp_path / "memory.current").write_text("536870912\n")
    assert memory.available(proc, tmp_path) == 512


def test_a_container_without_a_limit_has_the_machine(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert memory.available(tmp_path / "none", tmp_path) is None


def test_too_little_says_how_much_and_what_to_do() -> None:
    with pytest.raises(Fatal, match=r"500 MB available, .* 1100 MB\n.*--kafka"):
        memory.check(1100, has=500)


@pytest.mark.parametrize("has", [1100, None])
def test_enough_or_unknown_goes_on(has: int | None) -> None:
    memory.check(1100, has=has)
