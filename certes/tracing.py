"""Correlation ids: an ordered list, one id appended by each component that an event passes.

The components are `gw` (gateway), `eb` (event broker), `ec` (event consumer), `api` (Master API) and `reg` (schema
registry); `ext.` stands in front of an id that came from outside.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Literal

Component = Literal["gw", "eb", "ec", "api", "reg"]
MAX_IDS = 32
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def correlation_id(component: Component) -> str:
    """A new id, e.g. `gw.9f86d081884c7d65`."""
    return f"{component}.{secrets.token_hex(8)}"


def position_id(partition: int, offset: int) -> str:
    """The event broker's id of a record. It is derived from the record's place, so that each fold gives the same."""
    return f"eb.{partition}-{offset}"


def read(header: str, *, foreign: bool) -> tuple[str, ...]:
    """The ids of a header (comma-separated). What is no id is dropped; foreign ones get `ext.` in front, once."""
    ids = [part for part in (piece.strip() for piece in header.split(",")) if _ID.match(part)][-MAX_IDS:]
    if not foreign:
        return tuple(ids)
    return tuple(part if part.startswith("ext.") else f"ext.{part}"[:64] for part in ids)


def write(ids: Iterable[str]) -> str:
    return ",".join(ids)
