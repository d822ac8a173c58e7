from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Malformed, Refused, UriError
from certes.gateway.template import event_uri
from certes.uri import EventUri

GITHUB = "community.certes.dev/github/1/{header:x-github-event}"


def fill(template: str, headers: dict[str, str] | None = None, body: Any = None) -> str:
    return str(event_uri(template, headers or {}, lambda: body))


def test_headers_and_values_are_filled_in() -> None:
    assert fill(GITHUB, {"x-github-event": "push"}) == "community.certes.dev/github/1/push"
    body = {"type": "charge.succeeded", "items": [{"kind": 3, "live": True}]}
    assert fill("a.dev/{body:type}/1/{body:items.0.kind}", body=body) == "a.dev/charge.succeeded/1/3"
    assert fill("a.dev/_/1/x-{body:items.0.live}", body=body) == "a.dev/_/1/x-true"
    assert fill("a.dev/_/1/fixed") == "a.dev/_/1/fixed"


@pytest.mark.parametrize(
    ("value", "part"), [("a/b", "a_b"), ("pull request", "pull_request"), ("..", "_."), ("-x", "_x"), ("ü", "_")]
)
def test_what_a_part_cannot_hold_becomes_an_underscore(value: str, part: str) -> None:
    assert fill(GITHUB, {"x-github-event": value}) == f"community.certes.dev/github/1/{part}"


@pytest.mark.parametrize("body", [None, {}, {"type": None}, {"type": ""}, {"type": {}}, [], {"type": ["x"]}])
def test_what_is_missing_is_named(body: Any) -> None:
    with pytest.raises(Malformed, match="header x-github-event"):
        fill(GITHUB)
    with pytest.raises(Malformed, match="value type"):
        fill("a.dev/_/1/{body:type}", body=body)


@pytest.mark.parametrize("step", ["1", "-1", "x", "99999999", "٣"])
def test_no_such_place_in_a_list(step: str) -> None:
    with pytest.raises(Malformed):
        fill(f"a.dev/_/1/{{body:list.{step}}}", body={"list": ["a"]})


def test_a_result_that_is_no_event_uri() -> None:
    with pytest.raises(UriError):
        fill("a.dev/{header:v}", {"v": "x"})
    with pytest.raises(UriError):
        fill(GITHUB, {"x-github-event": "x" * 3000})


@given(st.text(max_size=50))
def test_any_header_gives_a_uri_or_a_refusal(value: str) -> None:
    try:
        filled = fill(GITHUB, {"x-github-event": value})
    except Refused:
        assert not value
    else:
        assert EventUri.parse(filled).namespace == "github"
