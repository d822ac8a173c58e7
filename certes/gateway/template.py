"""Which event URI a third party's call has, from the template of its source.

`{header:x-github-event}` stands for a header, `{body:type}` or `{body:data.items.0.kind}` for a value in the JSON body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from certes.errors import Malformed
from certes.uri import EventUri

_PLACEHOLDER = re.compile(r"\{(header|body):([^{}]+)\}")
_NOT_IN_A_PART = re.compile(r"[^A-Za-z0-9_.-]|^[.-]")


def event_uri(template: str, headers: Mapping[str, str], body: Callable[[], Any]) -> EventUri:
    """Fill the template in. What a URI part cannot hold becomes `_`, a slash included.

    `headers` finds names in any case; `body` is called when the template needs it. Raises Malformed naming a header or
    value that is missing, UriError for a result that is no event URI.
    """

    def filled(match: re.Match[str]) -> str:
        kind, name = match.groups()
        found = headers.get(name) if kind == "header" else _at(body(), name)
        if found is None or found == "":
            where = f"header {name}" if kind == "header" else f"value {name} in the body"
            raise Malformed(f"the {where} is missing, which the event URI is made of ({template})")
        return _NOT_IN_A_PART.sub("_", found)

    return EventUri.parse(_PLACEHOLDER.sub(filled, template))


def _at(document: Any, path: str) -> str | None:
    """The text, number or truth value at a dotted path, None if there is none."""
    for step in path.split("."):
        if isinstance(document, list) and step.isascii() and step.isdigit() and len(step) < 7:
            document = document[int(step)] if int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    if isinstance(document, bool):
        return str(document).lower()
    return str(document) if isinstance(document, str | int | float) else None
