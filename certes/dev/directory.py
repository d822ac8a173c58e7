"""The directory of a local stack: what is in it, who holds it, and the secrets made for it once."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certes.errors import Fatal


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Writes a file so that a reader sees all of it or the one before, also after a crash."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class Secrets:
    """`cluster_key`: 32 random bytes in base64. `admin_key`: an API key with all roles."""

    cluster_key: str
    admin_key: str

    @classmethod
    def new(cls) -> Secrets:
        return cls(
            cluster_key=base64.b64encode(secrets.token_bytes(32)).decode(),
            admin_key=f"key_{secrets.token_urlsafe(24)}",
        )


class Directory:
    """One directory, made where missing. Raises Fatal when it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.kafka = self.path / "kafka"
        self.registry = self.path / "registry"
        self.logs = self.path / "logs"
        self.pids = self.path / "pids"
        try:
            for part in (self.path, self.kafka, self.registry, self.logs, self.pids):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fatal(f"cannot use the directory {path}: {error.strerror}; choose another with --dir") from error

    def worker(self, number: int) -> Path:
        path = self.path / "workers" / str(number)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory for this process; the kernel lets go of it however the process ends."""
        with (self.path / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise Fatal(
                    f"the directory {self.path} is used by another run (process {owner}): "
                    "stop that one, or choose another directory with --dir"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def secrets(self) -> Secrets:
        """The secrets of this directory, made at the first call."""
        path = self.path / "secrets.json"
        if not path.exists():
            new = Secrets.new()
            text = json.dumps({"cluster_key": new.cluster_key, "admin_key": new.admin_key})
            write_whole(path, text, mode=0o600)
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return Secrets(cluster_key=str(known["cluster_key"]), admin_key=str(known["admin_key"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Fatal(f"{path} cannot be read ({error}): restore it, or delete it to have new keys made") from error

    def ports(self) -> dict[str, int]:
        """The ports of the last run; none where the file is missing or spoilt, since they can be chosen anew."""
        try:
            known = json.loads((self.path / "ports.json").read_text(encoding="utf-8"))
            return {str(name): int(port) for name, port in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        write_whole(self.path / "ports.json", json.dumps(dict(ports)))
