"""How Avro's scalar types look in plain JSON: one check per type, and the JSON form of decoded values.

A check gives the reason why a value is wrong, or None. It must take any JSON value and never raise.
"""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

Reason = Callable[[Any], str | None]

#: JSON's names for the Python types a JSON parser makes.
KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}

_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?\Z", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?\Z", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?\Z", re.ASCII)
_FLOAT_MAX = 3.4028234663852886e38
_DOUBLE_MAX = 1.7976931348623157e308


def kind_of(value: object) -> str:
    """What a value is in words, for messages; never the value itself, which may be private."""
    return KINDS.get(type(value), "something that is not JSON")


def null(value: Any) -> str | None:
    return None if value is None else f"must be null, not {kind_of(value)}"


def boolean(value: Any) -> str | None:
    return None if value is True or value is False else f"must be a boolean, not {kind_of(value)}"


def string(value: Any) -> str | None:
    return None if type(value) is str else f"must be a string, not {kind_of(value)}"


def _whole(name: str, bits: int) -> Reason:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def check(value: Any) -> str | None:
        if type(value) is not int:
            return f"must be a whole number, not {'one with a fraction' if type(value) is float else kind_of(value)}"
        return None if low <= value <= high else f"is out of the range of {name} ({bits} bits)"

    return check


def _floating(name: str, most: float) -> Reason:
    def check(value: Any) -> str | None:
        if type(value) is not float and type(value) is not int:
            return f"must be a number, not {kind_of(value)}"
        # False for NaN as well; a comparison, since a huge integer has no float.
        return None if -most <= value <= most else f"is out of the range of {name}"

    return check


def _base64(size: int | None = None) -> Reason:
    def check(value: Any) -> str | None:
        if type(value) is not str:
            return f"must be a base64 string, not {kind_of(value)}"
        try:
            length = len(b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            return "is not base64"
        return None if size is None or length == size else f"must be {size} bytes in base64, not {length}"

    return check


def _matching(pattern: re.Pattern[str], parse: Callable[[str], object], form: str) -> Reason:
    """Strings of one form; `parse` knows what the pattern cannot, such as the days of a month."""

    def check(value: Any) -> str | None:
        if type(value) is not str:
            return f"must be {form}, not {kind_of(value)}"
        if not pattern.match(value):
            return f"is not {form}"
        try:
            parse(value.upper())
        except ValueError:
            return f"has the form of {form}, but there is no such one"
        return None

    return check


def _decimal(schema: Mapping[str, Any]) -> Reason:
    scale, precision = schema.get("scale") or 0, schema.get("precision") or 0

    def check(value: Any) -> str | None:
        if type(value) is str:
            if not _DECIMAL.match(value):
                return "is not a decimal number"
            number = Decimal(value)
        elif type(value) is int or (type(value) is float and math.isfinite(value)):
            number = Decimal(str(value)) if type(value) is float else Decimal(value)
        else:
            return f"must be a decimal as string or number, not {kind_of(value)}"
        return _fits(number, precision, scale)

    return check


def _fits(number: Decimal, precision: int, scale: int) -> str | None:
    _, digits, exponent = number.as_tuple()
    if not number:
        return None
    zeros = next(count for count, digit in enumerate(reversed(digits)) if digit)
    if -(int(exponent) + zeros) > scale:
        return f"has more than {scale} digits after the point"
    if number.adjusted() + 1 + scale > precision:
        return f"has more than {precision} digits with {scale} after the point"
    return None


_UUID_CHECK = _matching(_UUID, UUID, "a UUID")
_LOCAL_CHECK = _matching(_LOCAL, datetime.fromisoformat, "a time without zone such as 2026-11-24T16:03:00")
_MOMENT_CHECK = _matching(_MOMENT, datetime.fromisoformat, "an RFC 3339 time such as 2026-11-24T16:03:00Z")
_TIME_CHECK = _matching(_TIME, time.fromisoformat, "a time of day such as 16:03:00")

_PLAIN: Mapping[str, Reason] = {
    "null": null,
    "boolean": boolean,
    "int": _whole("int", 32),
    "long": _whole("long", 64),
    "float": _floating("float", _FLOAT_MAX),
    "double": _floating("double", _DOUBLE_MAX),
    "bytes": _base64(),
    "string": string,
}

#: Exactly the logical types that fastavro decodes; all others are their underlying type, as Avro demands.
LOGICAL: Mapping[tuple[str, str], Reason] = {
    ("int", "date"): _matching(_DATE, date.fromisoformat, "a date such as 2026-11-24"),
    ("int", "time-millis"): _TIME_CHECK,
    ("long", "time-micros"): _TIME_CHECK,
    ("long", "timestamp-millis"): _MOMENT_CHECK,
    ("long", "timestamp-micros"): _MOMENT_CHECK,
    ("long", "local-timestamp-millis"): _LOCAL_CHECK,
    ("long", "local-timestamp-micros"): _LOCAL_CHECK,
    ("string", "uuid"): _UUID_CHECK,
}


def scalar(kind: str, schema: Mapping[str, Any]) -> Reason:
    """The check for a primitive or fixed type with the attributes of its schema (empty for a bare name)."""
    logical = schema.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return _decimal(schema)
    if isinstance(logical, str) and (kind, logical) in LOGICAL:
        return LOGICAL[kind, logical]
    return _base64(schema["size"]) if kind == "fixed" else _PLAIN[kind]


def to_json(decoded: Any) -> Any:
    """The plain JSON form of a decoded Avro value, made of what a JSON writer takes.

    Bytes become base64, times RFC 3339, decimals and UUIDs strings; the numbers that JSON lacks become the strings
    `NaN`, `Infinity` and `-Infinity`.
    """
    kind = type(decoded)
    if kind is dict:
        return {key: to_json(value) for key, value in decoded.items()}
    if kind is list:
        return [to_json(value) for value in decoded]
    form = _FORMS.get(kind)
    return decoded if form is None else form(decoded)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def _datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


_FORMS: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: b64encode(value).decode(),
    datetime: _datetime,
    date: date.isoformat,
    time: time.isoformat,
    Decimal: lambda value: format(value, "f"),
    UUID: str,
    float: _float,
}
