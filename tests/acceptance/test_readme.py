"""An example that is not run is a lie: the README's tour, run on a bus."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import sys
import uuid
from pathlib import Path

import pytest

from certes import logs
from certes.settings import Settings
from tests.acceptance.bus import Bus
from tests.acceptance.readme import README, tour
from tests.apps.command import run
from tests.apps.variables import variables

ROOT = README.parent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `certes` and `python` are those under test, wherever they are installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name, command in (("python", python), ("certes", f"{python} -m certes")):
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.kafka
async def test_the_tour(bus: Bus, tmp_path: Path, path: str) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Others use the same bus, whose sources and events are theirs, too.
    adapted = tour().replaced(
        {
            "8000": str(port),
            "events.meetly.com": f"{name}.meetly.com",
            "com.meetly.events": f"com.meetly.{name}",
            "community.certes.dev": f"{name}.certes.dev",
            "sources add github": f"sources add {name}",
            "from/github": f"from/{name}",
        }
    )
    for file, text in adapted.files.items():
        (tmp_path / file).write_text(text)
    output = await _bash(adapted.script, bus, cwd=tmp_path, path=path)
    _check_output(output, name)
    async with bus.client() as client:
        events = await client.settled(f"{name}.meetly.com/shop/1/payment", seconds=30)
        (push,) = await client.settled(f"{name}.certes.dev/github/1/push", seconds=30)
    assert [one["state"] for one in events] == ["delivered"] * 4
    assert sorted(one["source"] for one in events) == ["admin", "admin", "admin", "kafka"]
    assert (push["state"], push["source"]) == ("unrouted", name)


def _check_output(output: str, name: str) -> None:
    assert f"{name}.meetly.com/shop/1/payment version 1.0" in output
    first, second = re.findall(r'^\{"id":"(evt_\w+)","uri":"[^"]*payment"\}$', output, re.MULTILINE)
    assert first == second, "the same id twice is the same event"
    assert "$.cents: " in output
    assert "exit code 1" in output
    handled = re.findall(r"^handling (\w+) ", output, re.MULTILINE)
    assert len(handled) == len(set(handled)) == 4
    assert output.count("refusing evt_") == 1
    waiting, delivered = (output.index(text) for text in (": waiting, priority 9", ": delivered, priority 9"))
    assert "answered 503" in output
    assert waiting < output.index("is tried again") < delivered


async def _bash(script: str, bus: Bus, *, cwd: Path, path: str) -> str:
    env = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "CERTES_URL": bus.gateway,
        "CERTES_API_KEY": bus.api_key,
        "CERTES_KAFKA": bus.kafka,
        "CERTES_REGISTRY": bus.registry,
    }
    bash = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", f"trap 'kill ${{HANDLER:-}} 2>/dev/null || true' EXIT\n{script}", cwd=cwd, env=env,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        output, _ = await bash.communicate()
    assert bash.returncode == 0, output.decode()
    return output.decode()


def test_commands_that_it_names_exist() -> None:
    text = README.read_text()
    named = re.findall(r"^\| `certes (\w+) ([\w\\|]+)` \|", text, re.MULTILINE)
    assert len(named) >= 5
    for group, commands in named:
        for command in commands.split("\\|"):
            assert run(group, command, "--help").code == 0, f"certes {group} {command}"


def test_targets_that_it_names_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", README.read_text())) <= targets


def test_files_that_it_links_to_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_folders_that_it_lists_exist() -> None:
    folders = re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", README.read_text())
    assert len(folders) > 8
    missing = [one for one in folders if not (ROOT / one).is_dir() and not (ROOT / "agents" / one).is_dir()]
    assert missing == []


def test_settings_that_it_names_exist() -> None:
    named = set(re.findall(r"CERTES_[A-Z_]+\b", README.read_text())) - {"CERTES_URL", "CERTES_API_KEY", "CERTES_"}
    assert named <= {*variables(Settings), logs.FORMAT}
