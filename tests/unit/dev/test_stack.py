from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certes.dev.child import ChildSpec
from certes.dev.directory import Directory
from certes.dev.stack import Stack
from certes.errors import Fatal

CHILD = """
import signal, sys
name, diary = sys.argv[1:]
def say(what):
    with open(diary, "a") as file: file.write(f"{what} {name}\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(say("stop")))
say("start")
while True: signal.pause()
"""


class Diary:
    """What the children of a test wrote down, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def child(self, name: str, code: str = CHILD) -> ChildSpec:
        async def probe() -> str | None:
            return None if f"start {name}" in self.lines else "not yet"

        return ChildSpec(name, (sys.executable, "-c", code, name, str(self.path)), probe)


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "d")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


async def test_stages_start_in_order_and_stop_in_reverse(diary: Diary, directory: Directory) -> None:
    stages = [[diary.child("kafka"), diary.child("registry")], [diary.child("gateway"), diary.child("worker")]]
    async with Stack(directory, stages):
        assert set(diary.lines[:2]) == {"start kafka", "start registry"}
        assert set(diary.lines[2:]) == {"start gateway", "start worker"}
    assert diary.lines[4:] == ["stop worker", "stop gateway", "stop registry", "stop kafka"]


async def test_what_dies_is_started_again(diary: Diary, directory: Directory) -> None:
    said: list[str] = []
    async with Stack(directory, [[diary.child("worker")]], say=said.append):
        os.kill(int((directory.pids / "worker").read_text()), signal.SIGKILL)
        await until(lambda: diary.lines.count("start worker") == 2)
    assert said[0].startswith("worker ended with code 137; starting it again in 0.5 s")


async def test_a_child_that_cannot_start_stops_the_others(diary: Diary, directory: Directory) -> None:
    stages = [[diary.child("kafka")], [diary.child("worker", "raise SystemExit('no good')")]]
    with pytest.raises(Fatal, match=r"worker ended with code 1; [^\n]+\n  no good"):
        async with Stack(directory, stages):
            pass
    assert diary.lines == ["start kafka", "stop kafka"]


async def test_cancelling_the_start_stops_what_had_started(diary: Diary, directory: Directory) -> None:
    stages = [[diary.child("kafka")], [diary.child("worker", "import time; time.sleep(600)")]]
    starting = asyncio.create_task(Stack(directory, stages).__aenter__())
    await until((directory.pids / "worker").exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert diary.lines == ["start kafka", "stop kafka"]
