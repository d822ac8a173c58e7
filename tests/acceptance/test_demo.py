"""`make demo`, as a newcomer runs it: no input, a table, exit code 0, nothing left running."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_shows_what_it_promises() -> None:
    before = {process.pid for process in psutil.process_iter()}
    done = subprocess.run(
        [sys.executable, "-m", "certes.demos.shop"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for row in ("payments", "GitHub webhooks", "snack updates"):
        assert row in done.stdout
    for reason in ("is not Avro", "401", "422: $.stock"):
        assert reason in done.stdout
    assert "Everything accepted was delivered" in done.stdout
    left = [one for one in psutil.process_iter(["cmdline"]) if one.pid not in before and one.info["cmdline"]]
    assert not [one for one in left if any("certes-demo-" in part for part in one.info["cmdline"])]
