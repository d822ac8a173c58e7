from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from certes.dev import leash
from certes.dev.child import KEPT_LOG_BYTES, Child, ChildSpec, last_lines, rotate, running
from certes.dev.directory import Directory
from certes.errors import Fatal

FAMILY = (
    "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); open(sys.argv[1], 'w').close(); time.sleep(600)"
)
STUBBORN = (
    "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w').close(); time.sleep(600)"
)


def python(code: str, ready: Path, **options: float) -> ChildSpec:
    """A child that answers once it has made the file `ready`."""

    async def probe() -> str | None:
        return None if ready.exists() else "no file"

    return ChildSpec("child", (sys.executable, "-c", textwrap.dedent(code), str(ready)), probe, **options)


def group(directory: Directory) -> list[psutil.Process]:
    """The program of the only child, and what it started."""
    program = psutil.Process(int((directory.pids / "child").read_text()))
    return [program, *program.children(recursive=True)]


async def test_stop_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "d")
    async with running(python(FAMILY, tmp_path / "ready"), directory):
        family = group(directory)
        assert len(family) == 2
    assert psutil.wait_procs(family, timeout=2)[1] == []


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "d")
    async with running(python(STUBBORN, tmp_path / "ready", stop_seconds=0.2), directory):
        family = group(directory)
    assert psutil.wait_procs(family, timeout=2)[1] == []


async def test_a_program_that_ends_shows_its_last_lines(tmp_path: Path) -> None:
    spec = python("print('the reason'); raise SystemExit(3)", tmp_path / "ready")
    with pytest.raises(Fatal, match=r"child ended with code 3; [^\n]*child\.log:\n  the reason"):
        async with running(spec, Directory(tmp_path / "d")):
            pass


async def test_a_program_that_never_answers_is_given_up(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "d")
    with pytest.raises(Fatal, match=r"child does not answer after 0\.3 s \(no file\)"):
        async with running(python("import time; time.sleep(600)", tmp_path / "ready", start_seconds=0.3), directory):
            pass


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    async def probe() -> str | None:
        return "never"

    with pytest.raises(Fatal, match="cannot start /no/such/program"):
        async with running(ChildSpec("child", ("/no/such/program",), probe), Directory(tmp_path)):
            pass


async def test_what_survived_its_leash_is_killed_at_the_next_start(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "d")
    first = Child(python(FAMILY, tmp_path / "one"), directory)
    await first.start()
    await first.ready()
    orphans = group(directory)
    os.kill(orphans[0].ppid(), signal.SIGKILL)
    await first.ended()
    assert orphans[0].is_running()
    async with running(python(FAMILY, tmp_path / "two"), directory):
        gone, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 2)
        assert (len(gone), alive) == (2, [])
    await first.stop()


def test_a_number_in_an_unlocked_pid_file_is_not_killed(tmp_path: Path) -> None:
    bystander = psutil.Popen(["sleep", "600"], start_new_session=True)
    (tmp_path / "child").write_text(str(bystander.pid))
    assert leash.reap(tmp_path / "child")
    assert bystander.is_running()
    bystander.kill()
    bystander.wait()


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_bytes(b"x" * KEPT_LOG_BYTES)
    rotate(log)
    assert log.exists()
    log.write_bytes(b"x" * (KEPT_LOG_BYTES + 1))
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "child.log.1").exists()


def test_the_last_lines_of_a_log_need_not_be_text(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_bytes(b"\xff\n" * 100_000 + b"end\n")
    assert last_lines(log).endswith("\n  end")
    assert last_lines(log).count("\n") == 11
