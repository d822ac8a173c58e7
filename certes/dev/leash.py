"""Holds one child program and lets none of it outlive the parent, however the parent ends.

Run as a script by `certes.dev.child`, one process per child: `leash.py PIDFILE PROGRAM ARGUMENT...`.
Standard input is a pipe from the parent: each byte in it asks the child to stop (SIGTERM), its end, which comes
also when the parent is killed, kills the child's whole process group. Only the standard library, for a fast start.

The child inherits a locked PIDFILE that names its group: while the lock is held that group is alive, and a later
run may kill it without fear of a number that was given to somebody else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def send(group: int, number: signal.Signals) -> None:
    """Signals a process group; macOS answers EPERM for one that has only zombies left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def reap(pid_file: Path, *, patience: float = 5.0) -> bool:
    """Kills what an earlier run left behind. False when it is still there after `patience` seconds."""
    if not pid_file.exists():
        return True
    with pid_file.open("r+", encoding="ascii") as file:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            file.seek(0)
            group = file.read()
            if group.isdigit():
                send(int(group), signal.SIGKILL)
            time.sleep(0.02)
    return False


def _obey(pipe: int, group: int) -> None:
    while os.read(pipe, 1):
        send(group, signal.SIGTERM)
    send(group, signal.SIGKILL)


def hold(pid_file: Path, argv: list[str]) -> int:
    """Runs the program to its end and returns its exit code."""
    with pid_file.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        child = subprocess.Popen(  # noqa: S603 - the parent, the same program, names it
            argv, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(file.fileno(),)
        )
        file.write(str(child.pid))
        file.flush()
        threading.Thread(target=_obey, args=(sys.stdin.fileno(), child.pid), daemon=True).start()
        code = child.wait()
        send(child.pid, signal.SIGKILL)
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(hold(Path(sys.argv[1]), sys.argv[2:]))
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[2]}: {error.strerror}")
