"""Whether the machine has the memory the local stack needs; without it the kernel would kill something later."""

from __future__ import annotations

from pathlib import Path

from certes.errors import Fatal

JAVA_MEGABYTES = 400  #: Kafka and the registry were measured at 325 and 305 each
PYTHON_MEGABYTES = 150  #: gateway, or one worker


def needed(*, java: int, python: int) -> int:
    """Megabytes for so many Java and Python programs."""
    return java * JAVA_MEGABYTES + python * PYTHON_MEGABYTES


def available(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Megabytes that programs started now can have, or None where the system does not tell (macOS)."""
    known = [value for value in (_of_machine(proc), _of_container(cgroup)) if value is not None]
    return min(known) // (1 << 20) if known else None


def check(megabytes: int, *, has: int | None) -> None:
    """Raises Fatal when there is too little."""
    if has is not None and has < megabytes:
        raise Fatal(
            f"too little memory: {has} MB available, the local stack needs about {megabytes} MB\n"
            "close other programs, or use servers elsewhere with --kafka HOST:PORT and --registry URL"
        )


def _of_machine(proc: Path) -> int | None:
    if not proc.exists():
        return None
    fields = dict(line.split(":", 1) for line in proc.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) << 10 if "MemAvailable" in fields else None


def _of_container(cgroup: Path) -> int | None:
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if not limit.exists() or not used.exists() or limit.read_text().strip() == "max":
        return None
    return max(0, int(limit.read_text()) - int(used.read_text()))
