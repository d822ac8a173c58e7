from __future__ import annotations

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Invalid
from certes.registry.subjects import full_name, subject_of, uri_in, with_identity
from certes.uri import EventUri

URI = EventUri.parse("community.certes.dev/github/repo/1/push")
NAME = "dev.certes.community.github.repo.v1.push"


@pytest.mark.parametrize(
    ("uri", "subject"),
    [
        ("community.certes.dev/github/repo/1/push", NAME),
        ("events.meetly.com/_/1/my_event", "com.meetly.events.v1.my_event"),
        ("a.dev/stripe/3/payment_intent.succeeded", "dev.a.stripe.v3.payment_intent_succeeded"),
        ("a.dev/pull-request/1/review-comment", "dev.a.pull_request.v1.review_comment"),
        ("3d.dev/2024/0/1st", "dev._d._024.v0._st"),
        ("localhost:9600/_/1/x", "localhost_9600.v1.x"),
        ("a.dev/x/_/1/y", "dev.a.x._.v1.y"),
    ],
)
def test_the_subject_of_an_event(uri, subject):
    assert subject_of(EventUri.parse(uri)) == subject


parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
uris = st.builds(
    lambda domain, names, version, event: EventUri.parse(f"{domain}/{'/'.join(names)}/{version}/{event}"),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?){0,3}", fullmatch=True),
    st.lists(parts, min_size=1, max_size=4),
    st.integers(0, 999_999_999),
    parts,
)


@given(uris)
def test_every_uri_gives_a_schema_that_avro_accepts_and_that_names_it(uri):
    schema = with_identity({"type": "record", "name": "anything", "fields": []}, uri)
    assert full_name(schema) == subject_of(uri) == fastavro.parse_schema(schema)["name"]
    assert uri_in(schema) == uri


def test_identity_keeps_the_rest_and_is_idempotent():
    schema = {
        "type": "record",
        "name": "Push",
        "doc": "A push.",
        "certes": {"additional_fields": False},
        "fields": [{"name": "ref", "type": "string", "doc": "Branch."}],
    }
    once = with_identity(schema, URI)
    assert once == {
        "type": "record",
        "name": "push",
        "namespace": "dev.certes.community.github.repo.v1",
        "certes": {"additional_fields": False, "uri": str(URI)},
        "doc": "A push.",
        "fields": [{"name": "ref", "type": "string", "doc": "Branch."}],
    }
    assert with_identity(once, URI) == once
    assert schema["name"] == "Push"


INNER = {"type": "record", "name": "Repo", "fields": [{"name": "size", "type": "int"}]}


@pytest.mark.parametrize("namespace", [{}, {"namespace": "com.acme"}, {"namespace": ""}])
def test_inner_types_and_recursion_still_resolve(namespace):
    schema = {
        "type": "record",
        "name": "Push",
        **namespace,
        "fields": [
            {"name": "repo", "type": INNER},
            {"name": "fork", "type": ["null", "Repo"]},
            {"name": "parents", "type": {"type": "array", "items": "Push"}},
            {"name": "by_name", "type": {"type": "map", "values": "Repo"}},
            {"name": "kind", "type": {"type": "enum", "name": "other.Kind", "symbols": ["A"]}},
            {"name": "again", "type": "other.Kind"},
        ],
    }
    moved = with_identity(schema, URI)
    parsed = fastavro.parse_schema(moved)
    names = set(parsed["__named_schemas"])
    home = namespace.get("namespace") or NAME.rpartition(".")[0]
    assert names == {NAME, f"{home}.Repo", "other.Kind"}
    assert parsed["fields"][1]["type"] == ["null", f"{home}.Repo"]
    assert parsed["fields"][2]["type"]["items"] == NAME
    assert with_identity(moved, URI) == moved


def test_aliases_keep_their_meaning():
    inner = {**INNER, "aliases": ["Repository", "far.Repo"]}
    schema = {"type": "record", "name": "com.acme.Push", "fields": [{"name": "repo", "type": inner}]}
    repo = with_identity(schema, URI)["fields"][0]["type"]
    assert (repo["namespace"], repo["name"]) == ("com.acme", "Repo")
    assert repo["aliases"] == ["Repository", "far.Repo"]


def test_a_namespace_between_moved_types_is_left_alone():
    schema = {
        "type": "record",
        "name": "Push",
        "namespace": "com.acme",
        "fields": [
            {"name": "outer", "type": {"type": "record", "name": "x.Outer", "fields": [{"name": "r", "type": INNER}]}},
            {"name": "again", "type": "x.Repo"},
        ],
    }
    assert "x.Repo" in fastavro.parse_schema(with_identity(schema, URI))["__named_schemas"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "enum", "name": "E", "symbols": ["A"]},
        {"type": "record", "fields": []},
        {"type": "record", "name": "R", "fields": [], "certes": "text"},
        {"type": "array", "items": "int"},
    ],
)
def test_only_a_named_record_can_be_an_event(schema):
    with pytest.raises(Invalid):
        with_identity(schema, URI)


@pytest.mark.parametrize("schema", ["string", {"certes": 1}, {"certes": {}}, {"certes": {"uri": "nonsense"}}, []])
def test_no_readable_uri_is_none(schema):
    assert uri_in(schema) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "namespace", "fields", "items", "values", "aliases", "certes"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_schema_is_renamed_or_refused(value):
    try:
        with_identity({"type": "record", "name": "R", "fields": value, "certes": {}}, URI)
        with_identity(value if isinstance(value, dict) else {}, URI)
    except Invalid:
        pass
