from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from certes.dev.directory import Directory, write_whole
from certes.errors import Fatal


def test_secrets_are_made_once_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    secrets = Directory(tmp_path).secrets()
    assert len(base64.b64decode(secrets.cluster_key)) == 32
    assert re.fullmatch(r"key_[A-Za-z0-9_-]{32}", secrets.admin_key)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert Directory(tmp_path).secrets() == secrets


def test_two_directories_have_different_secrets(tmp_path: Path) -> None:
    assert Directory(tmp_path / "a").secrets() != Directory(tmp_path / "b").secrets()


@pytest.mark.parametrize("text", ["", "[]", '{"cluster_key": "x"}'])
def test_spoilt_secrets_are_never_replaced_silently(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.json").write_text(text)
    with pytest.raises(Fatal, match=r"secrets\.json cannot be read"):
        Directory(tmp_path).secrets()
    assert (tmp_path / "secrets.json").read_text() == text


def test_a_held_directory_names_its_holder(tmp_path: Path) -> None:
    again = Directory(tmp_path).held()
    with Directory(tmp_path).held(), pytest.raises(Fatal, match=r"used by another run \(process \d+\).*--dir"):
        again.__enter__()


def test_a_directory_can_be_held_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Directory(tmp_path).held():
            pass


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match="--dir"):
        Directory(tmp_path / "file")


@pytest.mark.parametrize("text", [None, "", "[1]", '{"kafka": "no"}', '{"kafka": null}'])
def test_spoilt_ports_are_forgotten(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "ports.json").write_text(text)
    assert Directory(tmp_path).ports() == {}


def test_ports_are_remembered(tmp_path: Path) -> None:
    Directory(tmp_path).remember_ports({"kafka": 4711})
    assert Directory(tmp_path).ports() == {"kafka": 4711}


def test_writing_leaves_no_draft_and_keeps_the_mode(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_whole(tmp_path / "file", text, mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "two"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
