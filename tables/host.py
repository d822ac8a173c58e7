"""What tables need of the application they live in; the agents provide it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from faust.types import TP

Acked = Callable[[TP, int], None]


class Lane(Protocol):
    """The changelog of one partition."""

    def add(self, key: bytes, value: bytes | None) -> None:
        """Queue a row; rows of a lane keep their order. Raises TooLarge before anything is queued."""


class Changelog(Protocol):
    def lane(self, tp: TP, acked: Acked) -> Lane:
        """`acked(tp, offset)` is called once all rows up to `offset` are acknowledged by Kafka."""


class Host(Protocol):
    """`die` ends the process with a reason: for what must not be survived."""

    @property
    def changelog(self) -> Changelog: ...

    @property
    def data_dir(self) -> Path: ...

    @property
    def die(self) -> Callable[[str], NoReturn]: ...
