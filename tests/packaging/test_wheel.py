"""What is shipped is what was tested: the wheel, by itself, in an empty environment."""

from __future__ import annotations

import json
import signal
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

import certes
from tests.packaging.conftest import ROOT, Installed, build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

URI = "events.meetly.com/shop/1/payment"
SCHEMA = {"type": "record", "name": "payment", "fields": [{"name": "cents", "type": "long"}]}

IMPORT_ALL = """
import importlib, pkgutil, certes
names = [one.name for one in pkgutil.walk_packages(certes.__path__, "certes.") if not one.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(*names, sep="\\n")
"""


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name) for name in files.namelist()}


def modules(folder: str) -> set[str]:
    return {str(one.relative_to(ROOT)) for one in (ROOT / folder).rglob("*.py")}


class TestContents:
    def test_nothing_at_top_level_but_certes(self, wheel: Path) -> None:
        tops = {name.split("/")[0] for name in contents(wheel)}
        assert tops == {"certes", f"certes-{certes.__version__}.dist-info"}

    def test_the_worker_travels_along(self, wheel: Path) -> None:
        shipped = set(contents(wheel))
        for folder in ("agents", "tables", "schemas"):
            assert {f"certes/_worker/{one}" for one in modules(folder)} <= shipped
        avsc = {str(one.relative_to(ROOT)) for one in (ROOT / "schemas").rglob("*.avsc")}
        assert avsc
        assert {f"certes/_worker/{one}" for one in avsc} <= shipped

    def test_all_of_certes_is_there_but_its_demos(self, wheel: Path) -> None:
        shipped = {name for name in contents(wheel) if name.endswith(".py") and not name.startswith("certes/_worker/")}
        assert shipped == {name for name in modules("certes") if not name.startswith("certes/demos/")}

    def test_license_and_readme(self, wheel: Path) -> None:
        files = contents(wheel)
        info = f"certes-{certes.__version__}.dist-info"
        assert b"Apache License" in files[f"{info}/licenses/LICENSE"]
        assert b"License-Expression: Apache-2.0" in files[f"{info}/METADATA"]
        assert (ROOT / "README.md").read_bytes() in files[f"{info}/METADATA"]

    def test_the_sdist_builds_the_same_wheel(self, wheel: Path, tmp_path: Path) -> None:
        sdist = build("sdist", ROOT, tmp_path / "sdist")
        with tarfile.open(sdist) as files:
            files.extractall(tmp_path / "source", filter="data")
        (source,) = (tmp_path / "source").iterdir()
        again = build("wheel", source, tmp_path / "again")
        assert contents(again) == contents(wheel)


class TestBare:
    """`pip install certes`: the client."""

    def test_import(self, bare: Installed) -> None:
        assert "site-packages" in bare.python("import certes; print(certes.__file__)").stdout

    @pytest.mark.parametrize("name", ["agents", "tables", "schemas", "faust"])
    def test_the_generic_names_stay_free(self, bare: Installed, name: str) -> None:
        assert "ModuleNotFoundError" in bare.python(f"import {name}", check=False).stderr

    def test_commands(self, bare: Installed) -> None:
        assert bare.run("certes", "--version").stdout == f"certes {certes.__version__}\n"
        assert "subscriptions" in bare.run("certes", "--help").stdout

    @pytest.mark.parametrize(("command", "extra"), [("worker", "server"), ("gateway", "server"), ("dev", "dev")])
    def test_a_missing_extra_is_named(self, bare: Installed, command: str, extra: str) -> None:
        refused = bare.run(
            "certes", command, check=False, CERTES_CLUSTER__KEY="a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
        )
        assert refused.returncode == 1
        assert f"pip install 'certes[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr


class TestFull:
    """`pip install 'certes[dev]'`: everything."""

    def test_every_module_imports(self, full: Installed) -> None:
        imported = full.python(IMPORT_ALL).stdout.split()
        assert "certes.gateway.service" in imported
        assert "certes.dev.stack" in imported

    @pytest.mark.parametrize("name", ["agents", "tables", "schemas"])
    def test_the_generic_names_stay_free(self, full: Installed, name: str) -> None:
        assert "ModuleNotFoundError" in full.python(f"import {name}", check=False).stderr

    @pytest.mark.kafka
    def test_certes_dev(self, full: Installed, received: list[bytes], hook: str, tmp_path: Path) -> None:
        """Its own Kafka and registry, one event through all of it, and nothing left at the end."""
        ready, log = tmp_path / "ready.json", tmp_path / "log"
        options = ("--dir", str(tmp_path / "state"), "--port", "0", "--ready-file", str(ready))
        with log.open("wb") as out:
            dev = subprocess.Popen([str(full.bin / "certes"), "dev", *options], cwd=tmp_path, stdout=out, stderr=out)
        try:
            _wait(lambda: ready.exists() or dev.poll() is not None, 300)
            assert dev.poll() is None, log.read_text()
            _publish_one(full, json.loads(ready.read_text()), hook, tmp_path)
            _wait(lambda: bool(received), 30)
            family = psutil.Process(dev.pid).children(recursive=True)
            assert len(family) >= 4
            dev.send_signal(signal.SIGTERM)
            assert dev.wait(60) == 0, log.read_text()
        finally:
            if dev.poll() is None:
                dev.kill()
        assert json.loads(received[0]) == {"cents": 4200}
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        assert "Traceback" not in log.read_text()


def _publish_one(full: Installed, bus: dict[str, str], hook: str, directory: Path) -> None:
    env = {"CERTES_URL": bus["gateway"], "CERTES_API_KEY": bus["api_key"]}
    (directory / "payment.avsc").write_text(json.dumps(SCHEMA))
    (directory / "payment.json").write_text('{"cents": 4200}')
    full.run("certes", "schemas", "push", URI, str(directory / "payment.avsc"), **env)
    full.run("certes", "subscriptions", "add", URI, "--to", hook, **env)
    sent = full.run("certes", "send", URI, str(directory / "payment.json"), **env)
    assert sent.stdout.startswith("evt_")


def _wait(done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def received() -> list[bytes]:
    return []


@pytest.fixture
def hook(received: list[bytes]) -> Iterator[str]:
    """The address of a handler that answers 204 to all."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hooks"
        server.shutdown()
