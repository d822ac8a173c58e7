"""Which Avro name an event URI has, and how a schema carries the URI it stands for.

The way from a URI to a subject is a function; the way back is not (`_` stands for many characters, and nothing
marks where the domain ends), so the URI itself travels in the schema's property `certes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from certes.errors import Invalid, UriError
from certes.uri import DEFAULT_NAMESPACE, EventUri

PROPERTY = "certes"
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]|^[0-9]")


def subject_of(uri: EventUri) -> str:
    """The Avro full name of an event, which is its registry subject.

    `community.certes.dev/github/repo/1/push` is `dev.certes.community.github.repo.v1.push`. The default namespace `_`
    adds no part. Every character that an Avro name forbids becomes `_`: a dot or hyphen within a part, and a digit
    at its start (`3d.dev` gives `dev._d`).
    """
    return f"{_namespace(uri)}.{_avro(uri.event)}"


def full_name(schema: object) -> str | None:
    """The Avro full name of a schema's root type, None where the root has no name."""
    if not isinstance(schema, Mapping):
        return None
    kind, name, namespace = schema.get("type"), schema.get("name"), schema.get("namespace")
    if not isinstance(kind, str) or kind not in NAMED:
        return None
    if not isinstance(name, str) or not isinstance(namespace, str | None):
        return None
    return _resolve(name, namespace or "")


def uri_in(schema: object) -> EventUri | None:
    """The event URI in a schema's own property, None where there is none that can be read."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get(PROPERTY), Mapping):
        return None
    text = schema[PROPERTY].get("uri")
    try:
        return EventUri.parse(text) if isinstance(text, str) else None
    except UriError:
        return None


def with_identity(schema: Mapping[str, Any], uri: EventUri) -> dict[str, Any]:
    """The schema as the one of `uri`: namespace, name and property set, everything else as it means now.

    Named types inside keep their full names; those without a namespace move into the new one, since Avro cannot refer
    to them from there. Raises Invalid if the root is no record.
    """
    old = full_name(schema)
    if old is None or schema["type"] != "record":
        raise Invalid("the schema of an event is a record with a name")
    if not isinstance(schema.get(PROPERTY, {}), Mapping):
        raise Invalid(f"the property {PROPERTY!r} of a schema is an object")
    moved = _Renaming(old, subject_of(uri)).apply(dict(schema), "", "")
    rest = {key: value for key, value in moved.items() if key not in ("type", "name", "namespace", PROPERTY)}
    identity = {"type": "record", "name": _avro(uri.event), "namespace": _namespace(uri)}
    return {**identity, PROPERTY: {**schema.get(PROPERTY, {}), "uri": str(uri)}, **rest}


class _Renaming:
    """Gives the root another full name while every other name goes on meaning the same type."""

    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new
        self._home = _space(new)

    def apply(self, node: Any, before: str, after: str) -> Any:
        """`node` rewritten; `before` and `after` are the namespaces around it in the old and the new schema."""
        if isinstance(node, str):
            return node if node in PRIMITIVES else _relative(self._target(_resolve(node, before)), after)
        if isinstance(node, list):
            return [self.apply(branch, before, after) for branch in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("type")
        if isinstance(kind, str) and kind in NAMED:
            return self._named(node, before, after)
        inner = {"array": "items", "map": "values"}.get(kind, "type") if isinstance(kind, str) else "type"
        if inner not in node:
            return node
        return {**node, inner: self.apply(node[inner], before, after)}

    def _named(self, node: dict[str, Any], before: str, after: str) -> dict[str, Any]:
        if not isinstance(node.get("name"), str):
            return node
        was = _resolve(node["name"], node.get("namespace", before) or "")
        now = self._target(was)
        moved = {key: value for key, value in node.items() if key != "namespace"}
        moved["name"] = now.rpartition(".")[2]
        if _space(now) != after:
            moved["namespace"] = _space(now)
        if isinstance(node.get("aliases"), list):
            moved["aliases"] = [_relative(_resolve(str(alias), _space(was)), _space(now)) for alias in node["aliases"]]
        if isinstance(node.get("fields"), list):
            moved["fields"] = [self._field(field, _space(was), _space(now)) for field in node["fields"]]
        return moved

    def _field(self, field: Any, before: str, after: str) -> Any:
        if not isinstance(field, dict) or "type" not in field:
            return field
        return {**field, "type": self.apply(field["type"], before, after)}

    def _target(self, name: str) -> str:
        if name == self._old:
            return self._new
        return name if "." in name else f"{self._home}.{name}"


def _namespace(uri: EventUri) -> str:
    names = [] if uri.namespace == DEFAULT_NAMESPACE else uri.namespace.split("/")
    parts = [*reversed(uri.domain.split(".")), *names]
    return ".".join([*map(_avro, parts), f"v{uri.version}"])


def _avro(part: str) -> str:
    return _FORBIDDEN.sub("_", part)


def _space(name: str) -> str:
    return name.rpartition(".")[0]


def _resolve(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _relative(name: str, namespace: str) -> str:
    return name.rpartition(".")[2] if _space(name) == namespace else name
