from __future__ import annotations

import time

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certes.errors import Violation
from certes.registry.validation import MAX_NESTING, MAX_VIOLATIONS, compile_validator


def validator(schema):
    return compile_validator(fastavro.parse_schema(schema))


def record(name, fields, **more):
    return {"type": "record", "name": name, "fields": [{"name": key, **_field(t)} for key, t in fields.items()], **more}


def _field(stated):
    return stated if isinstance(stated, dict) and "default" in stated else {"type": stated}


ORDER = record(
    "Order",
    {
        "id": "string",
        "items": {"type": "array", "items": record("Item", {"price": "double", "sku": ["null", "string"]})},
        "notes": {"type": "map", "values": "int"},
        "state": {"type": "enum", "name": "State", "symbols": ["OPEN", "PAID"]},
        "comment": {"type": "string", "default": ""},
    },
)
GOOD = {"id": "o-1", "items": [{"price": 1, "sku": None}], "notes": {}, "state": "OPEN"}


def test_a_valid_value():
    assert validator(ORDER)(GOOD) == ()


def test_all_violations_with_their_paths():
    bad = {
        "items": [{"price": 1.5, "sku": "a"}, {"sku": 5}, {"price": "9", "sku": None}],
        "notes": {"a b": "x", "c": 2**31, 'q"': None},
        "state": "LOST",
        "comment": None,
    }
    assert validator(ORDER)(bad) == (
        Violation("$.id", "is missing"),
        Violation("$.items[1].price", "is missing"),
        Violation("$.items[1].sku", "must be null or string, not a number"),
        Violation("$.items[2].price", "must be a number, not a string"),
        Violation('$.notes["a b"]', "must be a whole number, not a string"),
        Violation("$.notes.c", "is out of the range of int (32 bits)"),
        Violation('$.notes["q\\""]', "must be a whole number, not null"),
        Violation("$.state", "must be one of OPEN, PAID"),
        Violation("$.comment", "must be a string, not null"),
    )


@pytest.mark.parametrize("value", [None, 1, "x", [], [GOOD]])
def test_the_root_has_a_path_too(value):
    (violation,) = validator(ORDER)(value)
    assert violation.path == "$"


def test_violations_are_bounded():
    assert len(validator({"type": "array", "items": "int"})(["x"] * 1000)) == MAX_VIOLATIONS


@pytest.mark.parametrize(
    ("outer", "inner", "refused"),
    [
        ({}, {}, []),
        ({"additional_fields": False}, {}, ["$.inner.more", "$.more"]),
        ({"additional_fields": False}, {"additional_fields": True}, ["$.more"]),
        ({}, {"additional_fields": False}, ["$.inner.more"]),
        ({"uri": "a.dev/_/1/x"}, {}, []),
    ],
)
def test_fields_that_the_schema_does_not_name(outer, inner, refused):
    schema = record("Outer", {"inner": record("Inner", {}, certes=inner)}, certes=outer)
    if not inner:
        del schema["fields"][0]["type"]["certes"]
    found = validator(schema)({"inner": {"more": 1}, "more": 2})
    assert [violation.path for violation in found] == refused


def test_unions_are_untagged_and_the_nearest_branch_explains():
    schema = [record("A", {"a": "int", "b": "int"}), record("B", {"c": "int", "d": "int"}), "string", "null"]
    validate = validator(schema)
    assert validate({"a": 1, "b": 2}) == validate({"c": 1, "d": 2}) == validate("x") == validate(None) == ()
    assert validate({"c": 1, "d": "x"}) == (Violation("$.d", "must be a whole number, not a string"),)
    assert validate(True) == (Violation("$", "must be A or B or string or null, not a boolean"),)
    assert validate([]) == (Violation("$", "must be A or B or string or null, not an array"),)


def test_a_union_tries_every_type_that_fits():
    moment = {"type": "long", "logicalType": "timestamp-millis"}
    validate = validator(["null", moment, {"type": "string", "logicalType": "uuid"}, "double"])
    assert validate("2026-11-24T16:03:00Z") == validate("00000000-0000-0000-0000-000000000000") == validate(1) == ()
    assert validate("x")[0].path == "$"


NODE = record(
    "Node",
    {"value": "int", "next": ["null", "Node"], "kids": {"type": {"type": "array", "items": "Node"}, "default": []}},
)


def chain(length, end=None):
    for value in range(length):
        end = {"value": value, "next": end}
    return end


def test_recursion():
    validate = validator(NODE)
    assert validate(chain(50)) == ()
    assert validate({"value": 1, "next": None, "kids": [chain(1), chain(1, {"value": None, "next": None})]}) == (
        Violation("$.kids[1].next.value", "must be a whole number, not null"),
    )


@pytest.mark.parametrize(("length", "fine"), [(MAX_NESTING, True), (MAX_NESTING + 1, False), (100_000, False)])
def test_nesting_is_bounded(length, fine):
    found = validator(NODE)(chain(length))
    assert (found == ()) is fine
    assert fine or "levels deep" in found[0].reason


def test_what_no_schema_names_may_be_as_deep_as_it_likes():
    assert validator(record("R", {}))({"more": chain(100_000)}) == ()


def test_nested_choices_do_not_double_the_work():
    left = record(
        "Left", {"n": ["null", "Left", record("Right", {"n": ["null", "Left", "Right"], "y": "int"})], "x": "int"}
    )
    value = "wrong"
    for _ in range(100):
        value = {"n": value, "x": 1, "y": 2}
    started = time.perf_counter()
    (violation,) = validator(left)(value)
    assert violation.path == "$" + ".n" * 100
    assert time.perf_counter() - started < 1


def test_the_same_problem_found_twice_keeps_its_own_path():
    schema = record("R", {"a": [record("X", {"v": "int"}), record("Y", {"v": "int", "w": "int"})], "b": ["X", "Y"]})
    shared = {"v": "wrong"}
    assert [violation.path for violation in validator(schema)({"a": shared, "b": shared})] == ["$.a.v", "$.b.v"]


names = st.sampled_from(["a", "b", "c"])
leaves = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"]) | st.sampled_from(
    [
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
    ]
)


@st.composite
def schemas(draw):
    counter = iter(range(1000))

    def make(depth, known):
        kind = draw(st.sampled_from(["leaf", "leaf", "array", "map", "record", "enum", "fixed", "union", "known"]))
        if kind == "known" and known:
            return draw(st.sampled_from(known))
        if depth == 0 or kind in ("leaf", "known"):
            return draw(leaves)
        if kind in ("array", "map"):
            return {"type": kind, {"array": "items", "map": "values"}[kind]: make(depth - 1, known)}
        if kind == "union":
            return [
                "null",
                *[make_named(depth - 1, known) for _ in range(draw(st.integers(1, 3)))],
                draw(st.sampled_from(["int", "string"])),
            ]
        return make_named(depth, known, kind)

    def make_named(depth, known, kind="record"):
        name = f"N{next(counter)}"
        if kind == "enum":
            return {"type": "enum", "name": name, "symbols": ["A", "B"]}
        if kind == "fixed":
            return {"type": "fixed", "name": name, "size": 2}
        # A recursion that no union or array breaks has no values at all; it must get an answer all the same.
        fields = draw(st.lists(names, unique=True, max_size=3))
        return record(name, {field: make(depth - 1, [*known, name]) for field in fields})

    return make(4, [])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["A", "AAA=", "1.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)


@settings(max_examples=300)
@given(schemas(), values)
def test_any_schema_gives_any_value_an_answer(schema, value):
    for violation in validator(schema)(value):
        assert violation.path.startswith("$")
        assert violation.reason
