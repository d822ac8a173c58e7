from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Malformed
from certes.registry.skim import FREE_VALUES, compile_skim
from certes.registry.validation import MAX_NESTING

NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
NOTHING = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}


def skim(schema):
    return compile_skim(fastavro.parse_schema(schema))


def nested(levels):
    schema = "int"
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        "null",
        "string",
        {"type": "array", "items": ["null", "int"]},
        {"type": "map", "values": "null"},
        {"type": "record", "name": "Empty", "fields": []},
        NOTHING,
        {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A"]}},
        nested(MAX_NESTING),
    ],
)
def test_harmless_schemas_are_not_skimmed(schema):
    assert skim(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        NODE,
        {"type": "array", "items": "null"},
        {"type": "array", "items": NOTHING},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": NOTHING}, {"name": "b", "type": "Nothing"}]},
        nested(MAX_NESTING + 1),
    ],
)
def test_dangerous_ones_are(schema):
    assert skim(schema) is not None


@pytest.mark.parametrize("levels", [MAX_NESTING, 1_000_000])
def test_nesting_that_would_overflow_the_stack(levels):
    skim(NODE)(b"\x02" * (MAX_NESTING - 1) + b"\x00")
    with pytest.raises(Malformed, match="levels deep"):
        skim(NODE)(b"\x02" * levels + b"\x00")


def test_items_without_bytes():
    check = skim({"type": "array", "items": "null"})
    check(b"\x06\x00")
    for count in (b"\x80\x80\x80\x80\x10", b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f\x02"):
        with pytest.raises(Malformed, match="more values"):
            check(count + b"\x00")


def test_records_without_bytes_that_multiply():
    fields = [{"name": "d0", "type": ["null", NOTHING]}]
    for level in range(1, 41):
        below = "Nothing" if level == 1 else f"L{level - 1}"
        double = {"type": "record", "name": f"L{level}", "fields": [{"name": n, "type": below} for n in "ab"]}
        fields.append({"name": f"d{level}", "type": ["null", double]})
    with pytest.raises(Malformed, match="more values"):
        skim({"type": "record", "name": "Laughs", "fields": fields})(b"\x00" * 40 + b"\x02")


EVERYTHING = {
    "type": "record",
    "name": "Everything",
    "fields": [
        {"name": "b", "type": "boolean"},
        {"name": "i", "type": "int"},
        {"name": "l", "type": "long"},
        {"name": "f", "type": "float"},
        {"name": "d", "type": "double"},
        {"name": "s", "type": "string"},
        {"name": "y", "type": "bytes"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "x", "type": {"type": "fixed", "name": "X", "size": 3}},
        {"name": "m", "type": {"type": "map", "values": "X"}},
        {"name": "n", "type": {"type": "array", "items": "null"}},
        {"name": "kids", "type": {"type": "array", "items": "Everything"}},
    ],
}

everything = st.recursive(
    st.just([]),
    lambda kids: st.lists(
        st.fixed_dictionaries(
            {
                "b": st.booleans(),
                "i": st.integers(-(2**31), 2**31 - 1),
                "l": st.integers(-(2**63), 2**63 - 1),
                "f": st.floats(width=32),
                "d": st.floats(),
                "s": st.text(),
                "y": st.binary(),
                "e": st.sampled_from("AB"),
                "x": st.binary(min_size=3, max_size=3),
                "m": st.dictionaries(st.text(), st.binary(min_size=3, max_size=3), max_size=2),
                "n": st.lists(st.none(), max_size=5),
                "kids": kids,
            }
        ),
        max_size=2,
    ),
    max_leaves=3,
)


@given(everything)
def test_what_fastavro_writes_passes(values):
    schema = fastavro.parse_schema({"type": "array", "items": EVERYTHING})
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, values)
    compile_skim(schema)(stream.getvalue())


@given(st.binary(max_size=200))
def test_any_bytes_pass_or_are_malformed(body):
    with suppress(Malformed):
        assert skim(EVERYTHING)(body) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "ends"), (b"\x01", "branch"), (b"\x04", "branch"), (b"\xff" * 11, "64 bits"), (b"\x02\x80", "ends")],
)
def test_why(body, reason):
    with pytest.raises(Malformed, match=reason):
        skim(NODE)(body)


def test_the_allowance_for_values_without_bytes():
    count = BytesIO()
    fastavro.schemaless_writer(count, "long", FREE_VALUES * 2)
    with pytest.raises(Malformed):
        skim({"type": "array", "items": "null"})(count.getvalue() + b"\x00")
