"""Filters of subscriptions: CEL expressions over `data` (the payload) and `event` (its attributes), compiled once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cel

_CONVERSIONS = {"bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"}
_OF_TEXT = {"contains", "endsWith", "matches", "size", "startsWith"}
_OF_TIMES = {
    *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"),
    *("getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
}
_OF_OPTIONALS = {"hasValue", "none", "of", "or", "orValue", "value"}
#: What the library computes; it tells of an unknown function only when it comes across it, perhaps never.
FUNCTIONS = frozenset(_CONVERSIONS | _OF_TEXT | _OF_TIMES | _OF_OPTIONALS)
_TYPES = {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
_NAMES = frozenset({"data", "event", "optional"} | _TYPES)
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*(\w+)\s*,")
_NOT_COMPUTED = (KeyError, IndexError, TypeError, ValueError, ArithmeticError)


@lru_cache(maxsize=16_384)
def compile_filter(expression: str) -> cel.Program:
    """Compile a CEL expression. Raises ValueError with the reason."""
    try:
        program = cel.compile(expression)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"is no CEL expression: {_first_line(error)}") from error
    unknown = _unknown(program, expression)
    if unknown:
        raise ValueError(f"cannot work: nothing is called {', '.join(unknown)}; a filter sees data and event")
    try:
        # Run once on nothing: it finds impossible arguments when the filter is saved, not when it is used.
        program.execute({"data": {}, "event": {}})
    except RuntimeError as error:
        raise ValueError(f"cannot work: {_first_line(error)}") from error
    except _NOT_COMPUTED:
        pass  # fields are missing, of course
    return program


def passes(expression: str, variables: Mapping[str, Any]) -> bool | None:
    """Whether the filter lets an event through; None when it cannot be computed, e.g. for a field that is missing.

    A result that is no boolean does not let it through.
    """
    try:
        return compile_filter(expression).execute(dict(variables)) is True
    except (*_NOT_COMPUTED, RuntimeError):
        return None


def _unknown(program: cel.Program, expression: str) -> list[str]:
    """Names and functions that nobody defines, in order. Operators are functions too, with names like `_&&_`."""
    names = set(program.variables()) - _NAMES - set(_BOUND.findall(expression))
    functions = {name for name in program.functions() if name.isidentifier()} - FUNCTIONS
    return sorted(names | functions)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
