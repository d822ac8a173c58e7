from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.api.paging import DEFAULT_LIMIT, Paging
from certes.errors import Malformed

ITEMS = st.lists(
    st.builds(dict, n=st.integers(-5, 5), name=st.text(max_size=3)), unique_by=lambda one: (one["n"], one["name"])
)
SHAPE = (int, str)


def rank(item: dict[str, Any]) -> tuple[int, str]:
    return item["n"], item["name"]


@given(items=ITEMS, limit=st.integers(1, 7))
def test_pages_add_up_to_the_list(items: list[dict[str, Any]], limit: int) -> None:
    seen: list[dict[str, Any]] = []
    query = {"limit": str(limit)}
    for _ in range(len(items) + 1):
        page = Paging.of(query, SHAPE).page(items, rank)
        assert len(page["items"]) <= limit
        seen += page["items"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == sorted(items, key=rank)


@given(cursor=st.text(max_size=40))
def test_a_cursor_is_one_or_malformed(cursor: str) -> None:
    try:
        after = Paging.of({"cursor": cursor}, SHAPE).after
    except Malformed:
        return
    assert after is not None
    assert [type(part) for part in after] == [int, str]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "٣", "9" * 30])
def test_wrong_limits(limit: str) -> None:
    with pytest.raises(Malformed):
        Paging.of({"limit": limit}, SHAPE)


def test_without_anything() -> None:
    assert Paging.of({}, SHAPE) == Paging(DEFAULT_LIMIT, None)


def test_more_behind_means_a_next_page() -> None:
    items = [{"n": 1, "name": "a"}]
    assert Paging(5, None).page(items, rank)["next"] is None
    assert Paging(5, None).page(items, rank, more=True)["next"] is not None
    assert Paging(5, None).page([], rank, more=True)["next"] is None
