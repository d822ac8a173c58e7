"""The versions that the corrections were read and tested against."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from certes.errors import Fatal

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}


def check_versions(installed: Callable[[str], str] = version) -> None:
    """Raises Fatal unless exactly the pinned versions are installed."""
    for name, wanted in PINNED.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise Fatal(f"Certes needs {name}=={wanted} and found {found}: pip install '{name}=={wanted}'")
