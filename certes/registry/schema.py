"""One registered schema, ready for use: it decodes and encodes Avro, and validates plain JSON."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
import orjson
from fastavro.schema import SchemaParseException, UnknownType

from certes.errors import Invalid, Malformed, Violation
from certes.registry.scalars import to_json
from certes.registry.skim import compile_skim
from certes.registry.validation import compile_validator
from certes.uri import EventUri

#: Levels of JSON in a schema's text; everything that walks a schema relies on it to end before the stack does.
MAX_NESTING = 200

#: What fastavro raises for bytes that are not of the schema, or values that do not fit it.
_UNREADABLE = (EOFError, LookupError, ValueError, TypeError, ArithmeticError, AttributeError, MemoryError, struct.error)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of the registry. `uri` is None for a subject that no event URI has been given to."""

    id: int
    subject: str
    #: Counts the versions of the subject from 1; None where the id is not of this subject.
    version: int | None
    uri: EventUri | None
    #: As it was registered.
    source: Any
    parsed: Any = field(repr=False, compare=False)
    _skim: Callable[[bytes], None] | None = field(repr=False, compare=False)
    _validate: Callable[[Any], tuple[Violation, ...]] = field(repr=False, compare=False)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        schema_id: int,
        subject: str,
        version: int | None = None,
        uri: EventUri | None = None,
    ) -> Schema:
        """Make a registered text usable. Raises Invalid if it is no Avro schema."""
        source = read(text)
        parsed = parse(source)
        try:
            skim, validate = compile_skim(parsed), compile_validator(parsed)
        except _UNREADABLE as error:
            # What fastavro lets pass: a union in a union, symbols that are no strings.
            raise Invalid(f"the schema is not Avro: {error}") from error
        return cls(schema_id, subject, version, uri, source, parsed, skim, validate)

    @property
    def release(self) -> str | None:
        """The version as users see it: major of the URI, then how many came before, e.g. `1.0`, `1.1`."""
        return None if self.uri is None or self.version is None else f"{self.uri.version}.{self.version - 1}"

    def decode(self, body: bytes) -> Any:
        """Avro binary (without framing) as Python values. Raises Malformed."""
        if self._skim is not None:
            self._skim(body)
        stream = BytesIO(body)
        try:
            decoded = fastavro.schemaless_reader(stream, self.parsed, None)
        except _UNREADABLE as error:
            raise Malformed(f"the body is not Avro of schema {self.id} ({self.subject}): {error}") from error
        if stream.tell() != len(body):
            raise Malformed(f"the body has bytes behind its Avro value of schema {self.id} ({self.subject})")
        return decoded

    def encode(self, value: Any) -> bytes:
        """Python values, as `decode` gives them, as Avro binary without framing. Raises Invalid."""
        stream = BytesIO()
        try:
            fastavro.schemaless_writer(stream, self.parsed, value)
        except _UNREADABLE as error:
            raise Invalid(f"the value does not fit schema {self.id} ({self.subject}): {error}") from error
        return stream.getvalue()

    def validate(self, value: Any) -> tuple[Violation, ...]:
        """Everything that is wrong with a plain JSON value, at most a hundred things. Raises nothing."""
        return self._validate(value)

    def to_json(self, decoded: Any) -> Any:
        """The plain JSON form of what `decode` gave."""
        return to_json(decoded)


def read(text: str | bytes) -> Any:
    """The JSON of a schema's text. Raises Invalid."""
    try:
        source = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"the schema is not JSON: {error}") from error
    if _nests_deeper(source, MAX_NESTING):
        raise Invalid(f"the schema is nested more than {MAX_NESTING} levels deep")
    return source


def parse(source: Any, *, strict: bool = False) -> Any:
    """The schema in fastavro's form: full names, checked. Raises Invalid.

    Defaults are checked only if `strict`: other registries let wrong ones pass, which leaves a schema readable.
    """
    if isinstance(source, dict):
        # Keys that would make fastavro believe it has seen the schema before.
        source = {key: value for key, value in source.items() if not key.startswith("__")}
    try:
        return fastavro.parse_schema(source, _ignore_default_error=not strict)
    except UnknownType as error:
        raise Invalid(f"the schema uses the type {error.name!r}, which it does not define") from error
    except (SchemaParseException, *_UNREADABLE) as error:
        raise Invalid(f"the schema is not Avro: {error}") from error


def _nests_deeper(source: Any, most: int) -> bool:
    level, depth = [source], 0
    while level and depth <= most:
        lists = [node if isinstance(node, list) else node.values() for node in level if isinstance(node, list | dict)]
        level, depth = [child for children in lists for child in children], depth + 1
    return depth > most
