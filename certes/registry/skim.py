"""Looks through Avro binary before fastavro reads it, where reading could take the process with it.

fastavro's reader is C without bounds: a recursive type nested some thousand levels deep overflows the stack and
kills the process, and an array of values that take no bytes may claim 2^62 items in nine. A broker reads what anybody
sends, so schemas that allow either are skimmed first: every value is passed over, counted, and its nesting bounded.
Schemas that allow neither, nearly all, are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from certes.errors import Malformed
from certes.registry.subjects import NAMED, PRIMITIVES
from certes.registry.validation import MAX_NESTING

#: How many values a body may hold: so many for each of its bytes (records in records share theirs), and some for none.
VALUES_PER_BYTE = 8
FREE_VALUES = 10_000


class Budget:
    """A body, and how many more values it may hold."""

    __slots__ = ("body", "left")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.left = len(body) * VALUES_PER_BYTE + FREE_VALUES


#: From a position in the body to the position after the value.
Skip = Callable[[Budget, int, int], int]


def compile_skim(schema: Any) -> Callable[[bytes], None] | None:
    """A function that raises Malformed for a body that fastavro must not see; None where every body is harmless.

    `schema` is in the form that fastavro's `parse_schema` makes.
    """
    shape = _Shape()
    shape.measure(schema, 0)
    if not shape.dangerous:
        return None
    skip = _Skims().compile(schema)

    def skim(body: bytes) -> None:
        skip(Budget(body), 0, 0)

    return skim


class _Shape:
    """Finds what is dangerous in a schema: recursion, deep nesting, repeated values without bytes."""

    def __init__(self) -> None:
        self.dangerous = False
        self._named: dict[str, tuple[int, int]] = {}

    def measure(self, schema: Any, depth: int) -> tuple[int, int]:
        """(fewest bytes of a value, most levels below it)."""
        if isinstance(schema, list):
            inner = [self.measure(branch, depth) for branch in schema]
            return 1, max((levels for _, levels in inner), default=0)
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind in PRIMITIVES or kind == "enum":
            return _FEWEST.get(kind, 1), 0
        if kind == "fixed":
            self._named[schema["name"]] = (schema["size"], 0)
            return schema["size"], 0
        if kind in ("array", "map"):
            return self._repeated(kind, schema, depth)
        return self._record(schema, depth) if kind in NAMED else self._reference(kind, depth)

    def _repeated(self, kind: str, schema: Mapping[str, Any], depth: int) -> tuple[int, int]:
        fewest, levels = self.measure(schema["items" if kind == "array" else "values"], depth + 1)
        self.dangerous |= (kind == "array" and fewest == 0) or depth + levels + 1 > MAX_NESTING
        return 1, levels + 1

    def _record(self, schema: Mapping[str, Any], depth: int) -> tuple[int, int]:
        inner = [self.measure(field["type"], depth + 1) for field in schema["fields"]]
        fewest = sum(size for size, _ in inner)
        levels = 1 + max((levels for _, levels in inner), default=0)
        # Records of records that take no bytes multiply for nothing, as in the billion laughs.
        self.dangerous |= (fewest == 0 and levels > 1) or depth + levels > MAX_NESTING
        self._named[schema["name"]] = (fewest, levels)
        return fewest, levels

    def _reference(self, name: str, depth: int) -> tuple[int, int]:
        # Unknown while it is being defined, or an enum, which is never a danger.
        if name not in self._named:
            self.dangerous = True
            return 1, 0
        fewest, levels = self._named[name]
        self.dangerous |= depth + levels > MAX_NESTING
        return fewest, levels


class _Skims:
    def __init__(self) -> None:
        self._named: dict[str, Skip] = {}

    def compile(self, schema: Any) -> Skip:
        if isinstance(schema, list):
            return _union([self.compile(branch) for branch in schema])
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind in _PRIMITIVE:
            return _PRIMITIVE[kind]
        if kind == "array":
            return _blocks(self.compile(schema["items"]))
        if kind == "map":
            return _blocks(_pair(self.compile(schema["values"])))
        if kind not in NAMED:
            return self._reference(kind)
        self._named[schema["name"]] = skip = self._define(kind, schema)
        return skip

    def _define(self, kind: str, schema: Mapping[str, Any]) -> Skip:
        if kind == "enum":
            return _varint
        if kind == "fixed":
            return _width(schema["size"])
        return _record([self.compile(field["type"]) for field in schema["fields"]])

    def _reference(self, name: str) -> Skip:
        named = self._named  # the type may still be in the making: this is its recursion

        def skip(budget: Budget, at: int, depth: int) -> int:
            return named[name](budget, at, depth)

        return skip


def _spend(budget: Budget, count: int = 1) -> None:
    budget.left -= count
    if budget.left < 0:
        raise Malformed("the body claims more values than its size accounts for")


def _long(budget: Budget, at: int) -> tuple[int, int]:
    """A zigzag varint and the position after it."""
    raw = 0
    for shift in range(0, 70, 7):
        if at >= len(budget.body):
            raise Malformed("the body ends within a value")
        byte = budget.body[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
    raise Malformed("the body holds a number of more than 64 bits")


def _varint(budget: Budget, at: int, _depth: int) -> int:
    _spend(budget)
    return _long(budget, at)[1]


def _width(size: int) -> Skip:
    def skip(budget: Budget, at: int, _depth: int) -> int:
        _spend(budget)
        return _within(budget, at + size)

    return skip


def _within(budget: Budget, at: int) -> int:
    if at > len(budget.body):
        raise Malformed("the body ends within a value")
    return at


def _string(budget: Budget, at: int, _depth: int) -> int:
    _spend(budget)
    size, at = _long(budget, at)
    if size < 0:
        raise Malformed("the body holds a string of negative length")
    return _within(budget, at + size)


def _union(branches: list[Skip]) -> Skip:
    def skip(budget: Budget, at: int, depth: int) -> int:
        index, at = _long(budget, at)
        if not 0 <= index < len(branches):
            raise Malformed("the body chooses a branch that its union does not have")
        return branches[index](budget, at, depth)

    return skip


def _record(fields: list[Skip]) -> Skip:
    def skip(budget: Budget, at: int, depth: int) -> int:
        _descend(budget, depth)
        for field in fields:
            at = field(budget, at, depth + 1)
        return at

    return skip


def _blocks(item: Skip) -> Skip:
    """Arrays and maps: counted blocks, a negative count followed by the block's size, until a count of 0."""

    def skip(budget: Budget, at: int, depth: int) -> int:
        _descend(budget, depth)
        while True:
            count, at = _long(budget, at)
            if count == 0:
                return at
            if count < 0:
                count, at = -count, _long(budget, at)[1]
            if count > budget.left:
                _spend(budget, count)
            for _ in range(count):
                at = item(budget, at, depth + 1)

    return skip


def _pair(value: Skip) -> Skip:
    return lambda budget, at, depth: value(budget, _string(budget, at, depth), depth)


def _descend(budget: Budget, depth: int) -> None:
    _spend(budget)
    if depth >= MAX_NESTING:
        raise Malformed(f"the body is nested more than {MAX_NESTING} levels deep")


_FEWEST: Mapping[str, int] = {"null": 0, "float": 4, "double": 8}
_PRIMITIVE: Mapping[str, Skip] = {
    "null": _width(0),
    "boolean": _width(1),
    "int": _varint,
    "long": _varint,
    "float": _width(4),
    "double": _width(8),
    "bytes": _string,
    "string": _string,
}
