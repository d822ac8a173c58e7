"""What users get: the wheel, built once, and environments that hold nothing but it and what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel installed."""

    bin: Path
    cwd: Path

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        argv = (str(self.bin / command[0]), *command[1:])
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CERTES"))}
        done = subprocess.run(
            argv, cwd=self.cwd, env=clean | env, capture_output=True, text=True, check=False, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def python(self, program: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a program with nothing on the path but the installation."""
        return self.run("python", "-I", "-c", program, check=check)


def build(target: str, source: Path, directory: Path) -> Path:
    """The `wheel` or `sdist` of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = directory.iterdir()
    return built


def install(wheel: Path, directory: Path, extras: Sequence[str] = ()) -> Installed:
    venv.create(directory / "venv", with_pip=True)
    made = Installed(directory / "venv" / "bin", directory)
    chosen = f"[{','.join(extras)}]" if extras else ""
    command = [str(made.bin / "python"), "-m", "pip", "install", "--quiet", f"{wheel}{chosen}"]
    subprocess.run(command, check=True, timeout=600)
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install certes`."""
    return install(wheel, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install 'certes[dev]'`."""
    return install(wheel, tmp_path_factory.mktemp("full"), ["dev"])
