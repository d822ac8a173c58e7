from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from fastavro.read import LOGICAL_READERS
from hypothesis import given
from hypothesis import strategies as st

from certes.registry.scalars import LOGICAL, scalar, to_json

GOOD = [
    ("null", {}, None),
    ("boolean", {}, True),
    ("int", {}, 2**31 - 1),
    ("int", {}, -(2**31)),
    ("long", {}, 2**63 - 1),
    ("float", {}, 3),
    ("float", {}, 1.5),
    ("double", {}, 10**300),
    ("string", {}, ""),
    ("bytes", {}, ""),
    ("bytes", {}, "AAEC"),
    ("fixed", {"size": 3}, "AAEC"),
    ("int", {"logicalType": "date"}, "2024-02-29"),
    ("int", {"logicalType": "time-millis"}, "23:59:59.999"),
    ("long", {"logicalType": "time-micros"}, "00:00:00"),
    ("long", {"logicalType": "timestamp-millis"}, "2026-11-24T16:03:00Z"),
    ("long", {"logicalType": "timestamp-micros"}, "2026-11-24t16:03:00.123456789+05:30"),
    ("long", {"logicalType": "local-timestamp-millis"}, "2026-11-24T16:03:00"),
    ("string", {"logicalType": "uuid"}, "123e4567-e89b-12d3-a456-426614174000"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "12.34"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "12.3400"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, 12.5),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "0e999"),
    ("fixed", {"logicalType": "decimal", "precision": 4, "size": 2}, -9999),
    ("long", {"logicalType": "unheard-of"}, 1),
]

BAD = [
    ("null", {}, False),
    ("boolean", {}, 1),
    ("int", {}, True),
    ("int", {}, 2**31),
    ("int", {}, 1.0),
    ("int", {}, "1"),
    ("long", {}, -(2**63) - 1),
    ("float", {}, 1e39),
    ("float", {}, False),
    ("double", {}, 10**400),
    ("double", {}, math.nan),
    ("double", {}, -math.inf),
    ("string", {}, 1),
    ("bytes", {}, "AAE"),
    ("bytes", {}, "é"),
    ("bytes", {}, [1]),
    ("fixed", {"size": 2}, "AAEC"),
    ("int", {"logicalType": "date"}, "2023-02-29"),
    ("int", {"logicalType": "date"}, "20230228"),
    ("int", {"logicalType": "date"}, 19000),
    ("int", {"logicalType": "time-millis"}, "24:00:00"),
    ("long", {"logicalType": "timestamp-millis"}, "2031-05-06T17:04:05"),
    ("long", {"logicalType": "timestamp-millis"}, "2031-05-06"),
    ("long", {"logicalType": "timestamp-millis"}, "2031-05-06T17:04:05Z\n"),
    ("long", {"logicalType": "timestamp-millis"}, 1_700_000_000_000),
    ("long", {"logicalType": "local-timestamp-millis"}, "2031-05-06T17:04:05Z"),
    ("string", {"logicalType": "uuid"}, "123e4567e89b12d3a456426614174000"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "12.345"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "123.4"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "1e9999"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, "NaN"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, math.nan),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, True),
]


@pytest.mark.parametrize(("kind", "schema", "value"), GOOD)
def test_good(kind, schema, value):
    assert scalar(kind, schema)(value) is None


@pytest.mark.parametrize(("kind", "schema", "value"), BAD)
def test_bad(kind, schema, value):
    assert scalar(kind, schema)(value)


def test_reasons_never_show_the_value():
    for kind, schema, value in BAD:
        if isinstance(value, str) and len(value) > 3:
            assert value not in scalar(kind, schema)(value)


def test_exactly_the_logical_types_that_fastavro_decodes():
    ours = {f"{kind}-{logical}" for kind, logical in LOGICAL}
    theirs = {name for name in LOGICAL_READERS if not name.startswith("record-")}  # those of records are no scalars
    assert ours | {"bytes-decimal", "fixed-decimal"} == theirs


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})


@given(st.sampled_from(GOOD + BAD), anything)
def test_any_value_gets_an_answer(case, value):
    kind, schema, _ = case
    assert scalar(kind, schema)(value) is None or isinstance(scalar(kind, schema)(value), str)


def test_json_forms():
    east = timezone(timedelta(hours=2))
    decoded = {
        "bytes": b"\x00\x01\x02",
        "moment": datetime(2026, 11, 24, 16, 3, tzinfo=UTC),
        "elsewhere": datetime(2026, 11, 24, 16, 3, tzinfo=east),
        "local": datetime(2026, 11, 24, 16, 3, 0, 5000),
        "date": date(2026, 11, 24),
        "time": time(16, 3),
        "decimal": Decimal("0.00000010"),
        "uuid": UUID(int=0),
        "floats": [1.5, math.nan, math.inf, -math.inf],
        "plain": [None, True, 1, "x", {}],
    }
    form = to_json(decoded)
    json.dumps(form, allow_nan=False)
    assert form == {
        "bytes": "AAEC",
        "moment": "2026-11-24T16:03:00Z",
        "elsewhere": "2026-11-24T14:03:00Z",
        "local": "2026-11-24T16:03:00.005000",
        "date": "2026-11-24",
        "time": "16:03:00",
        "decimal": "0.00000010",
        "uuid": "00000000-0000-0000-0000-000000000000",
        "floats": [1.5, "NaN", "Infinity", "-Infinity"],
        "plain": [None, True, 1, "x", {}],
    }
