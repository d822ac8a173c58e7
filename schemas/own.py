"""Certes' own records in Avro: outcomes and commands. Their first field is the format's version."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import fastavro
import msgspec

from certes.command import Command
from certes.delivery import Outcome
from certes.errors import Fatal, TooLarge

VERSION = 1
#: A record of outcomes is split beyond this many bytes, well below what Kafka takes.
MAX_OUTCOMES_BYTES = 512 * 1024

_HERE = Path(__file__).parent


def _parsed(name: str) -> Any:
    return fastavro.parse_schema(json.loads((_HERE / name).read_text()))


_OUTCOMES = _parsed("outcomes.avsc")
_COMMAND = _parsed("command.avsc")


class OwnCodec:
    """Reads own records for the fold. Raises ValueError for what is no such record, Fatal for a newer format."""

    def outcomes(self, value: bytes) -> Sequence[Outcome]:
        return msgspec.convert(_read(_OUTCOMES, value)["outcomes"], list[Outcome])

    def command(self, value: bytes) -> Command:
        fields = _read(_COMMAND, value)
        del fields["v"]
        if fields["verdict"] is not None:
            fields["verdict"] = msgspec.json.decode(fields["verdict"])
        return msgspec.convert(fields, Command)


def encode_command(command: Command) -> bytes:
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    if command.verdict is not None:
        fields["verdict"] = msgspec.json.encode(command.verdict)
    return _write(_COMMAND, {"v": VERSION, **fields})


def encode_outcomes(outcomes: Sequence[Outcome]) -> list[bytes]:
    """The outcomes as one record's value, or as several when one would be too large."""
    value = _write(_OUTCOMES, {"v": VERSION, "outcomes": [msgspec.structs.asdict(one) for one in outcomes]})
    if len(value) <= MAX_OUTCOMES_BYTES:
        return [value]
    if len(outcomes) == 1:
        raise TooLarge(f"one outcome has {len(value)} bytes, at most {MAX_OUTCOMES_BYTES} are allowed")
    half = len(outcomes) // 2
    return encode_outcomes(outcomes[:half]) + encode_outcomes(outcomes[half:])


def _write(schema: Any, fields: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, fields)
    return buffer.getvalue()


def _read(schema: Any, value: bytes) -> dict[str, Any]:
    version = _version(value)
    if version > VERSION:
        raise Fatal(f"an own record has format {version}, this Certes reads up to {VERSION}: upgrade this process")
    try:
        fields = fastavro.schemaless_reader(io.BytesIO(value), schema, None)
    except (EOFError, IndexError, OverflowError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"no Avro of this schema: {type(error).__name__}") from error
    return cast("dict[str, Any]", fields)


def _version(value: bytes) -> int:
    """The first field, an Avro int: zig-zag, here of one or two bytes."""
    try:
        version = fastavro.schemaless_reader(io.BytesIO(value), "int", None)
    except (EOFError, IndexError) as error:
        raise ValueError("an empty record") from error
    return cast("int", version)
