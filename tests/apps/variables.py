"""The environment variables that settings are read from, for tests of files that name them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel


def variables(model: type[BaseModel], prefix: str = "CERTES_") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from variables(kind, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()
