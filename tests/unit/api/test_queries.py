from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.api.folded import place
from certes.api.ports import EventQuery
from certes.api.queries import event_query
from certes.api.rules import scope_of
from certes.errors import Refused

NAMES = ("uri", "state", "source", "subscription", "since", "until", "q")


def test_all_of_it() -> None:
    query = {
        "uri": "a.dev/x/*",
        "state": "failed",
        "source": "github",
        "subscription": "sub_a",
        "since": "2023-11-14T22:13:20Z",
        "until": "2023-11-14T23:13:20.5+01:00",
        "q": "timed out",
    }
    moment = 1_700_000_000_000
    assert event_query(query) == EventQuery("a.dev/x/*", "failed", "github", "sub_a", moment, moment + 500, "timed out")
    assert event_query({}) == EventQuery()


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30)))
def test_any_query_is_one_or_refused(query: dict[str, str]) -> None:
    try:
        found = event_query(query)
    except Refused:
        return
    assert all(getattr(found, name) is None for name in NAMES if not query.get(name))


@given(st.text(max_size=30))
def test_any_scope_is_one_or_refused(text: str) -> None:
    try:
        scope = scope_of(text)
    except Refused:
        return
    assert scope == text


@pytest.mark.parametrize("text", ["global", "source/a.b", "event/a.dev/x/1/y", "event/a.dev/*"])
def test_scopes(text: str) -> None:
    assert scope_of(text) == text


@given(st.integers(0, 65_535), st.integers(0, 10**15))
def test_places(partition: int, offset: int) -> None:
    assert place(f"{partition}/{offset}") == (partition, offset)
