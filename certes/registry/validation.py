"""Plain JSON against an Avro schema, all violations with their paths.

The schema is compiled once into closures, because they are asked for every event. A closure answers with the
problems it found; paths grow on the way out, so a valid value pays nothing for them. Any value gets an answer:
nesting is bounded, and where a union leaves a choice, what was found out about a value is kept, since otherwise a
nested choice would double the work at each level.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from certes.errors import Violation
from certes.registry.scalars import kind_of, scalar
from certes.registry.subjects import NAMED, PRIMITIVES, PROPERTY

#: After this many the rest is more of the same.
MAX_VIOLATIONS = 100
#: Objects and arrays inside each other. Writers of JSON end at about twice as many.
MAX_NESTING = 128

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Problem:
    """A violation on its way out: the keys that lead to it, innermost first."""

    __slots__ = ("keys", "reason")

    def __init__(self, reason: str) -> None:
        self.keys: list[str | int] = []
        self.reason = reason

    def violation(self) -> Violation:
        return Violation("$" + "".join(map(_step, reversed(self.keys))), self.reason)


Problems = Sequence[Problem]
#: What is known about a value in a union, by the identity of value and branch.
Known = dict[tuple[int, int], Problems]
Check = Callable[[Any, int, Known], Problems]

_FINE: Problems = ()
_TOO_DEEP = f"is nested more than {MAX_NESTING} levels deep"


def compile_validator(schema: Any) -> Callable[[Any], tuple[Violation, ...]]:
    """A function from a JSON value to everything that is wrong with it, nothing if it is valid.

    `schema` is in the form that fastavro's `parse_schema` makes: names are full names, defined before they are used.
    """
    check = _Compiler().compile(schema, allow_more=True)

    def validate(value: Any) -> tuple[Violation, ...]:
        return tuple(problem.violation() for problem in check(value, 0, {}))

    return validate


class _Compiler:
    def __init__(self) -> None:
        self._named: dict[str, Check] = {}
        self._kinds: dict[str, str] = {}

    def compile(self, schema: Any, *, allow_more: bool) -> Check:
        """The check of a schema. `allow_more`: whether records around it let fields pass that they do not name."""
        if isinstance(schema, list):
            return self._union(schema, allow_more=allow_more)
        if isinstance(schema, str):
            return _leaf(schema, {}) if schema in PRIMITIVES else self._reference(schema)
        kind = schema["type"]
        if kind in NAMED:
            self._kinds[schema["name"]] = kind
            self._named[schema["name"]] = check = self._define(kind, schema, allow_more=allow_more)
            return check
        if kind == "array":
            return _array(self.compile(schema["items"], allow_more=allow_more))
        if kind == "map":
            return _map(self.compile(schema["values"], allow_more=allow_more))
        return _leaf(kind, schema)

    def _define(self, kind: str, schema: Mapping[str, Any], *, allow_more: bool) -> Check:
        if kind == "enum":
            return _enum(schema["symbols"])
        if kind == "fixed":
            return _leaf(kind, schema)
        stated = schema.get(PROPERTY)
        if isinstance(stated, Mapping):
            allow_more = stated.get("additional_fields", allow_more) is not False
        fields = {
            field["name"]: (self.compile(field["type"], allow_more=allow_more), "default" not in field)
            for field in schema["fields"]
        }
        return _record(fields, allow_more=allow_more)

    def _reference(self, name: str) -> Check:
        if name in self._named:
            return self._named[name]
        named = self._named  # the type is being defined: this is its recursion

        def check(value: Any, depth: int, known: Known) -> Problems:
            return named[name](value, depth, known)

        return check

    def _union(self, branches: list[Any], *, allow_more: bool) -> Check:
        by_type: dict[type, list[Check]] = {}
        words = []
        for branch in branches:
            check = self.compile(branch, allow_more=allow_more)
            kind = self._kind(branch)
            words.append(_word(branch))
            for python in _PYTHON[kind]:
                by_type.setdefault(python, []).append(check)
        return _union(by_type, words)

    def _kind(self, branch: Any) -> str:
        if isinstance(branch, str):
            return branch if branch in PRIMITIVES else self._kinds[branch]
        kind: str = branch["type"]
        return kind if branch.get("logicalType") != "decimal" else "decimal"


#: Which Python types a branch can take, so that a union asks only those that may fit.
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int, float, str),  # a string where the logical type is a time
    "long": (int, float, str),
    "float": (int, float),
    "double": (int, float),
    "decimal": (int, float, str),
    "bytes": (str,),
    "fixed": (str,),
    "string": (str,),
    "enum": (str,),
    "array": (list,),
    "map": (dict,),
    "record": (dict,),
    "error": (dict,),
}


def _word(branch: Any) -> str:
    """What messages call a branch: the name of a named type, else its logical type, else its type."""
    if isinstance(branch, str):
        return branch.rpartition(".")[2]
    word: str = branch.get("name") or branch.get("logicalType") or branch["type"]
    return word.rpartition(".")[2]


def _leaf(kind: str, schema: Mapping[str, Any]) -> Check:
    reason_of = scalar(kind, schema)

    def check(value: Any, _depth: int, _known: Known) -> Problems:
        reason = reason_of(value)
        return _FINE if reason is None else (Problem(reason),)

    return check


def _enum(symbols: list[str]) -> Check:
    allowed = frozenset(symbols)
    shown = ", ".join(symbols[:10]) + (", ..." if len(symbols) > 10 else "")

    def check(value: Any, _depth: int, _known: Known) -> Problems:
        if type(value) is not str:
            return (Problem(f"must be one of {shown}, not {kind_of(value)}"),)
        return _FINE if value in allowed else (Problem(f"must be one of {shown}"),)

    return check


def _array(item: Check) -> Check:
    def check(value: Any, depth: int, known: Known) -> Problems:
        if type(value) is not list:
            return (Problem(f"must be an array, not {kind_of(value)}"),)
        if depth >= MAX_NESTING:
            return (Problem(_TOO_DEEP),)
        found: list[Problem] = []
        for index, element in enumerate(value):
            problems = item(element, depth + 1, known)
            if problems and _full(found, index, problems):
                break
        return found

    return check


def _map(item: Check) -> Check:
    def check(value: Any, depth: int, known: Known) -> Problems:
        if type(value) is not dict:
            return (Problem(f"must be an object, not {kind_of(value)}"),)
        if depth >= MAX_NESTING:
            return (Problem(_TOO_DEEP),)
        found: list[Problem] = []
        for key, element in value.items():
            problems = item(element, depth + 1, known)
            if problems and _full(found, key, problems):
                break
        return found

    return check


def _record(fields: dict[str, tuple[Check, bool]], *, allow_more: bool) -> Check:
    items = [(name, check, required) for name, (check, required) in fields.items()]

    def check(value: Any, depth: int, known: Known) -> Problems:
        if type(value) is not dict:
            return (Problem(f"must be an object, not {kind_of(value)}"),)
        if depth >= MAX_NESTING:
            return (Problem(_TOO_DEEP),)
        found: list[Problem] = []
        for name, field, required in items:
            element = value.get(name, _ABSENT)
            if element is not _ABSENT:
                problems = field(element, depth + 1, known)
            elif required:
                problems = (Problem("is missing"),)
            else:
                continue
            if problems and _full(found, name, problems):
                return found
        return found if allow_more else _unnamed(value, fields, found)

    return check


def _unnamed(value: dict[str, Any], fields: Mapping[str, object], found: list[Problem]) -> Problems:
    for name in value:
        if name not in fields and _full(found, name, (Problem("is not a field of the schema"),)):
            break
    return found


def _union(by_type: Mapping[type, list[Check]], words: list[str]) -> Check:
    expected = " or ".join(words) or "nothing"

    def check(value: Any, depth: int, known: Known) -> Problems:
        checks = by_type.get(type(value))
        if checks is None:
            return (Problem(f"must be {expected}, not {kind_of(value)}"),)
        if len(checks) == 1:
            return checks[0](value, depth, known)
        return _nearest(checks, value, depth, known)

    return check


def _nearest(checks: list[Check], value: Any, depth: int, known: Known) -> Problems:
    """The problems of the branch that fits best. Copies, because paths grow on the way out."""
    nearest: Problems | None = None
    for check in checks:
        key = (id(value), id(check))
        problems = known.get(key)
        if problems is None:
            problems = known[key] = check(value, depth, known)
        if not problems:
            return _FINE
        if nearest is None or len(problems) < len(nearest):
            nearest = problems
    return [_copy(problem) for problem in nearest or ()]


def _copy(problem: Problem) -> Problem:
    copy = Problem(problem.reason)
    copy.keys = problem.keys.copy()
    return copy


def _full(found: list[Problem], key: Any, problems: Problems) -> bool:
    """Add what a child found under `key`. True once there is enough."""
    for problem in problems[: MAX_VIOLATIONS - len(found)]:
        problem.keys.append(key)
        found.append(problem)
    return len(found) >= MAX_VIOLATIONS


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _IDENTIFIER.match(key) else f"[{orjson.dumps(key).decode()}]"


_ABSENT = object()
