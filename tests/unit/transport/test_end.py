from __future__ import annotations

import subprocess
import sys

from agents.transport.end import EXIT_CODE

PROGRAM = """
import atexit, logging, logging.handlers, sys, threading
from agents.transport.end import die
logging.basicConfig(stream=sys.stderr, level="INFO")
atexit.register(print, "farewell")
thread = threading.Thread(target=die, args=("the disk is full",))
thread.start()
thread.join()
"""


def test_it_ends_the_process_at_once_from_any_thread_and_says_why() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == EXIT_CODE
    assert "this worker ends: the disk is full" in done.stderr
    assert done.stdout == ""
