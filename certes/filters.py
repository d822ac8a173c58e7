"""Filters of subscriptions: CEL expressions over `data` (the payload) and `event` (its attributes), compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cel

_NOT_COMPUTED = (KeyError, IndexError, TypeError, ValueError, ArithmeticError)


@lru_cache(maxsize=16_384)
def compile_filter(expression: str) -> cel.Program:
    """Compile a CEL expression. Raises ValueError with the reason."""
    try:
        program = cel.compile(expression)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"is no CEL expression: {_first_line(error)}") from error
    try:
        # Run once on nothing: it finds unknown names and functions when the filter is saved, not when it is used.
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


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
