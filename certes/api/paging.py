"""Lists in pages: `limit`, an opaque `cursor`, and the answer `{"items", "next"}`.

A list has an order, given by the rank of each item; the cursor is the rank of the last item shown. So a page continues
where the last one ended, whatever has come or gone meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from certes.errors import Malformed

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
_LARGEST = 2**62

Item = dict[str, Any]
Rank = tuple[Any, ...]  # of int and str; the smallest comes first
Shape = tuple[type, ...]


@dataclass(frozen=True, slots=True)
class Paging:
    """What the caller asked for: at most `limit` items whose rank is above `after`."""

    limit: int
    after: Rank | None

    @classmethod
    def of(cls, query: Mapping[str, str], shape: Shape) -> Paging:
        """Read `limit` and `cursor`; `shape` is the types of a rank. Raises Malformed."""
        text = query.get("limit", str(DEFAULT_LIMIT))
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
            raise Malformed(f"limit must be a number from 1 to {MAX_LIMIT}")
        cursor = query.get("cursor")
        return cls(int(text), None if cursor is None else _decode(cursor, shape))

    def page(self, items: Iterable[Item], rank: Callable[[Item], Rank], *, more: bool = False) -> Item:
        """The page out of `items` in any order; `more` says that there are others behind them."""
        ranked = sorted(((rank(item), item) for item in items), key=lambda pair: pair[0])
        left = [pair for pair in ranked if self.after is None or pair[0] > self.after]
        shown = left[: self.limit]
        follows = shown and (more or len(left) > self.limit)
        return {"items": [item for _, item in shown], "next": _encode(shown[-1][0]) if follows else None}


def _encode(rank: Rank) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(rank)).decode().rstrip("=")


def _decode(cursor: str, shape: Shape) -> Rank:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        rank = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        rank = None
    if not (isinstance(rank, list) and len(rank) == len(shape) and all(map(_fits, rank, shape))):
        raise Malformed("cursor must be the `next` of an answer to the same list")
    return tuple(rank)


def _fits(value: Any, kind: type) -> bool:
    return type(value) is kind and (not isinstance(value, int) or abs(value) < _LARGEST)
