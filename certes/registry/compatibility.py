"""Whether events of an old schema can be read with a new one, and if not, where and why.

The verdict is the `avro` package's. It loses which reason belongs to which place when there are several, so the
places are found by walking both schemas side by side. It also ignores logical types; changing one changes what
handlers receive, so here it counts.
"""

from __future__ import annotations

from typing import Any

import orjson
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityResult, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import ArraySchema, EnumSchema, FixedSchema, MapSchema, NamedSchema, RecordSchema, UnionSchema
from avro.schema import Schema as AvroSchema
from avro.schema import parse as parse_avro

from certes.errors import Invalid, Violation

#: `avro` warns about logical types it does not know, so it sees them under a name that means nothing to it.
_LOGICAL = "certes.logicalType"


def parse_strictly(source: Any) -> AvroSchema:
    """A schema by the reference implementation. Raises Invalid with its reason."""
    try:
        return parse_avro(orjson.dumps(_veiled(source)).decode())
    except (AvroException, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Invalid("the schema is not valid Avro", (Violation("$", _first_line(error)),)) from error


def incompatibilities(reader: AvroSchema, writer: AvroSchema) -> tuple[Violation, ...]:
    """Why `reader`, the new schema, cannot read what `writer` wrote; nothing if it can."""
    walk = _Walk()
    walk.compare(reader, writer, "$")
    if walk.found or _readable(reader, writer):
        return tuple(walk.found)
    return tuple(Violation("$", message) for message in sorted(_verdict(reader, writer).messages))


def _readable(reader: AvroSchema, writer: AvroSchema) -> bool:
    return _verdict(reader, writer).compatibility is SchemaCompatibilityType.compatible


def _verdict(reader: AvroSchema, writer: AvroSchema) -> SchemaCompatibilityResult:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro annotates all but this
    return checker.get_compatibility(reader, writer)


class _Walk:
    def __init__(self) -> None:
        self.found: list[Violation] = []
        self._seen: set[tuple[int, int]] = set()

    def compare(self, reader: AvroSchema, writer: AvroSchema, path: str) -> None:
        pair = (id(reader), id(writer))
        if pair in self._seen:
            return
        self._seen.add(pair)
        if isinstance(writer, UnionSchema):
            self._from_union(reader, writer, path)
        elif isinstance(reader, UnionSchema):
            self._into_union(reader, writer, path)
        elif reader.type != writer.type:
            if not _readable(reader, writer):
                self._report(path, f"was {_word(writer)}, is now {_word(reader)}")
        else:
            self._same_type(reader, writer, path)

    def _same_type(self, reader: AvroSchema, writer: AvroSchema, path: str) -> None:
        if _logical(reader) != _logical(writer):
            self._report(path, f"was {_word(writer)}, is now {_word(reader)}")
        elif isinstance(reader, ArraySchema) and isinstance(writer, ArraySchema):
            self.compare(reader.items, writer.items, f"{path}[*]")
        elif isinstance(reader, MapSchema) and isinstance(writer, MapSchema):
            self.compare(reader.values, writer.values, f"{path}.*")
        elif isinstance(reader, NamedSchema) and isinstance(writer, NamedSchema):
            self._named(reader, writer, path)

    def _named(self, reader: NamedSchema, writer: NamedSchema, path: str) -> None:
        if reader.name != writer.name and not _readable(reader, writer):
            self._report(path, f"was named {writer.fullname}, is now named {reader.fullname}")
        elif isinstance(reader, RecordSchema) and isinstance(writer, RecordSchema):
            self._fields(reader, writer, path)
        elif isinstance(reader, EnumSchema) and isinstance(writer, EnumSchema):
            lost = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
            if lost and not _readable(reader, writer):
                self._report(path, f"no longer has the symbols {', '.join(lost)}")
        elif isinstance(reader, FixedSchema) and isinstance(writer, FixedSchema) and reader.size != writer.size:
            self._report(path, f"was {writer.size} bytes long, is now {reader.size}")

    def _fields(self, reader: RecordSchema, writer: RecordSchema, path: str) -> None:
        old = {field.name: field for field in writer.fields}
        for field in reader.fields:
            names = [field.name, *(field.props.get("aliases") or ())]
            match = next((old[name] for name in names if name in old), None)
            if match is not None:
                self.compare(field.type, match.type, f"{path}.{field.name}")
            elif not field.has_default:
                self._report(f"{path}.{field.name}", "is new and has no default")

    def _from_union(self, reader: AvroSchema, writer: UnionSchema, path: str) -> None:
        for branch in writer.schemas:
            if isinstance(reader, UnionSchema):
                self._into_union(reader, branch, path)
            else:
                self.compare(reader, branch, path)

    def _into_union(self, reader: UnionSchema, writer: AvroSchema, path: str) -> None:
        same = next((branch for branch in reader.schemas if _key(branch) == _key(writer)), None)
        if same is not None:
            self.compare(same, writer, path)
        elif not any(_readable(branch, writer) for branch in reader.schemas):
            self._report(path, f"can no longer be {_word(writer)}")

    def _report(self, path: str, reason: str) -> None:
        self.found.append(Violation(path, reason))


def _key(schema: AvroSchema) -> str:
    return schema.fullname if isinstance(schema, NamedSchema) else schema.type


def _logical(schema: AvroSchema) -> tuple[object, ...]:
    props = schema.other_props
    logical = props.get(_LOGICAL)
    return (logical, props.get("precision"), props.get("scale") or 0) if logical == "decimal" else (logical,)


def _word(schema: AvroSchema) -> str:
    if isinstance(schema, NamedSchema):
        return f"{schema.type} {schema.fullname}"
    logical = schema.other_props.get(_LOGICAL)
    if logical == "decimal":
        return f"decimal({schema.other_props.get('precision')}, {schema.other_props.get('scale') or 0})"
    return str(logical or schema.type)


def _veiled(node: Any) -> Any:
    """The schema with `logicalType` under another name; defaults, which are data, stay as they are."""
    if isinstance(node, list):
        return [_veiled(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        (_LOGICAL if key == "logicalType" else key): value if key == "default" else _veiled(value)
        for key, value in node.items()
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
