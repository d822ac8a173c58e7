from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Invalid, Violation
from certes.registry.compatibility import incompatibilities, parse_strictly


def record(*fields, name="R", **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name, kind, **more):
    return {"name": name, "type": kind, **more}


def compare(new, old):
    return incompatibilities(parse_strictly(new), parse_strictly(old))


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}
TREE = record(field("kids", {"type": "array", "items": "R"}), field("v", "int"))


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (record(field("a", "int")), record(field("a", "int"), field("b", "int"))),
        (record(field("a", "int"), field("b", "int", default=0)), record(field("a", "int"))),
        (record(field("a", "long")), record(field("a", "int"))),
        (record(field("a", ["null", "int"])), record(field("a", "int"))),
        (record(field("a", ["null", "string", "int"])), record(field("a", ["null", "int"]))),
        (record(field("b", "int", aliases=["a"])), record(field("a", "int"))),
        (record(field("a", "string")), record(field("a", "bytes"))),
        (record(field("a", ENUM)), record(field("a", {**ENUM, "symbols": ["A"]}))),
        (record(field("a", {**ENUM, "symbols": ["A"], "default": "A"})), record(field("a", ENUM))),
        (record(field("a", MILLIS)), record(field("a", MILLIS))),
        (TREE, TREE),
    ],
)
def test_compatible(new, old):
    assert compare(new, old) == ()


@pytest.mark.parametrize(
    ("new", "old", "path", "reason"),
    [
        (field("b", "int"), field("a", "int"), "$.b", "is new and has no default"),
        (field("a", "string"), field("a", "int"), "$.a", "was int, is now string"),
        (field("a", "int"), field("a", ["null", "int"]), "$.a", "was null, is now int"),
        (field("a", ["null", "int"]), field("a", "string"), "$.a", "can no longer be string"),
        (field("a", ["null", "int"]), field("a", ["null", "long"]), "$.a", "can no longer be long"),
        (field("a", MILLIS), field("a", "long"), "$.a", "was long, is now timestamp-millis"),
        (
            field("a", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
            field("a", {"type": "bytes", "logicalType": "decimal", "precision": 9}),
            "$.a",
            "was decimal(9, 0), is now decimal(9, 2)",
        ),
        (field("a", {**ENUM, "symbols": ["B"]}), field("a", ENUM), "$.a", "no longer has the symbols A, C"),
        (
            field("a", {"type": "fixed", "name": "F", "size": 3}),
            field("a", {"type": "fixed", "name": "F", "size": 2}),
            "$.a",
            "was 2 bytes long, is now 3",
        ),
        (field("a", record(name="X")), field("a", record(name="Y")), "$.a", "was named Y, is now named X"),
        (
            field("a", {"type": "array", "items": record(field("x", "int"), name="I")}),
            field("a", {"type": "array", "items": record(name="I")}),
            "$.a[*].x",
            "is new and has no default",
        ),
        (
            field("a", {"type": "map", "values": "int"}),
            field("a", {"type": "map", "values": "string"}),
            "$.a.*",
            "was string, is now int",
        ),
        (
            field("a", ["null", record(field("x", "int"), name="I")]),
            field("a", ["null", record(field("x", "boolean"), name="I")]),
            "$.a.x",
            "was boolean, is now int",
        ),
    ],
)
def test_incompatible(new, old, path, reason):
    assert compare(record(new), record(old)) == (Violation(path, reason),)


def test_every_reason_with_its_own_path():
    new = record(field("a", "string"), field("b", "int"), field("c", ENUM))
    old = record(field("a", "int"), field("c", {**ENUM, "symbols": ["Z"]}))
    assert [violation.path for violation in compare(new, old)] == ["$.a", "$.b", "$.c"]


def test_recursion_is_compared_once():
    changed = record(field("kids", {"type": "array", "items": "R"}), field("v", "string"))
    assert compare(changed, TREE) == (Violation("$.v", "was int, is now string"),)


@pytest.mark.parametrize(
    "source",
    [
        "nonsense",
        {},
        {"type": "record"},
        record(field("a", "int"), field("a", "int")),
        5,
    ],
)
def test_what_is_not_avro_is_invalid_with_the_reason(source):
    with pytest.raises(Invalid) as caught:
        parse_strictly(source)
    assert caught.value.errors[0].reason


def test_logical_types_that_avro_does_not_know_are_no_fault():
    parse_strictly(record(field("a", {"type": "long", "logicalType": "local-timestamp-micros"})))


kinds = st.recursive(
    st.sampled_from(["null", "boolean", "int", "long", "double", "string", "bytes"]),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda values: {"type": "map", "values": values}, inner)
        | st.lists(
            inner,
            min_size=1,
            max_size=3,
            unique_by=lambda kind: (
                json.dumps(kind) if isinstance(kind, str) else kind["type"] if isinstance(kind, dict) else "u"
            ),
        ).filter(lambda branches: not any(isinstance(branch, list) for branch in branches))
    ),
    max_leaves=6,
)
records = st.lists(st.tuples(st.sampled_from("abcd"), kinds), unique_by=lambda pair: pair[0], max_size=4).map(
    lambda pairs: record(*[field(name, kind) for name, kind in pairs])
)


@given(records, records)
def test_where_avro_finds_fault_so_do_we_and_nowhere_else(new, old):
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    reader, writer = parse_strictly(new), parse_strictly(old)
    verdict = ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)
    assert (incompatibilities(reader, writer) == ()) is (verdict.compatibility is SchemaCompatibilityType.compatible)
