from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.backoff import Policy
from certes.routing import Router, Rules, patterns_over
from certes.subscription import StoredSubscription
from certes.uri import EventUri, UriPattern

PARTS = st.sampled_from(["a.dev", "a", "ab", "1"])
URIS = st.builds("{}/{}/{}/{}".format, PARTS, st.lists(PARTS, min_size=1, max_size=3).map("/".join), st.just(1), PARTS)
PATTERNS = st.lists(PARTS, min_size=1, max_size=5).map(lambda parts: "/".join([*parts, "*"]))
SCOPES = st.one_of(
    st.just("global"),
    st.sampled_from(["source/github", "source/kafka"]),
    URIS.map("event/{}".format),
    PATTERNS.map("event/{}".format),
)


def subscription(name: str, uri: str, **fields: Any) -> StoredSubscription:
    spec = {"uri": uri, "destination": {"url": "http://127.0.0.1/"}, **fields}
    made = {"created_at": "2026-11-24T16:03:00.000Z", "updated_at": "2026-11-24T16:03:00.000Z", "secrets": []}
    return StoredSubscription.model_validate({"id": name, "spec": spec, **made})


def nothing() -> Mapping[str, Any]:
    raise AssertionError("no filter asks for the payload")


def ids(router: Router, uri: str, **data: Any) -> list[str]:
    routes = router.routes(uri=uri, source="kafka", variables=lambda: {"data": data, "event": {"uri": uri}})
    return [route.subscription for route in routes]


def naive(values: Mapping[str, int], own: int | None, uri: str, source: str) -> tuple[int | None, str]:
    """The precedence of CONTRACT, word by word."""
    if own is not None:
        return own, "subscription"
    if f"event/{uri}" in values:
        return values[f"event/{uri}"], f"event/{uri}"
    patterns = [scope for scope in values if scope.startswith("event/") and scope.endswith("/*")]
    matching = [one for one in patterns if uri.startswith(one.removeprefix("event/")[:-1])]
    if matching:
        longest = max(matching, key=len)
        return values[longest], longest
    for scope in (f"source/{source}", "global"):
        if scope in values:
            return values[scope], scope
    return None, "default"


@given(
    st.dictionaries(SCOPES, st.integers(0, 9), max_size=12),
    st.none() | st.integers(0, 9),
    URIS,
    st.sampled_from(["github", "kafka"]),
)
def test_the_nearest_scope_wins(values: dict[str, int], own: int | None, uri: str, source: str) -> None:
    assert Rules(values).decide(own, uri=uri, source=source) == naive(values, own, uri, source)


@pytest.mark.parametrize(
    ("dropped", "rule", "priority"),
    [
        ([], "subscription", 0),
        (["subscription"], "event/a.dev/shop/1/payment", 1),
        (["event/a.dev/shop/1/payment"], "event/a.dev/shop/1/*", 2),
        (["event/a.dev/shop/1/*"], "event/a.dev/*", 3),
        (["event/a.dev/*"], "source/kafka", 5),
        (["source/kafka"], "global", 6),
        (["global"], "default", 4),
    ],
)
def test_each_scope_decides_when_no_nearer_one_does(dropped: list[str], rule: str, priority: int) -> None:
    order = [
        "subscription",
        "event/a.dev/shop/1/payment",
        "event/a.dev/shop/1/*",
        "event/a.dev/*",
        "source/kafka",
        "global",
    ]
    values = dict(zip(order, (0, 1, 2, 3, 5, 6), strict=True))
    left = order[order.index(dropped[0]) + 1 :] if dropped else order
    rules = {scope: value for scope, value in values.items() if scope in left and scope != "subscription"}
    own = values["subscription"] if "subscription" in left else None
    router = Router([subscription("sub_1", "a.dev/shop/1/payment", priority=own)], priorities=rules)
    (route,) = router.routes(uri="a.dev/shop/1/payment", source="kafka", variables=nothing)
    assert (route.priority, route.rule) == (priority, (rule, "default"))


def test_back_offs_follow_the_same_precedence_and_are_frozen_in_the_route() -> None:
    backoffs = {"global": Policy(factor=2), "event/a.dev/_/1/*": Policy(max_retries=3)}
    router = Router([subscription("sub_1", "a.dev/_/1/x")], backoffs=backoffs)
    (route,) = router.routes(uri="a.dev/_/1/x", source="kafka", variables=nothing)
    assert (route.policy, route.rule) == ({"max_retries": 3}, ("default", "event/a.dev/_/1/*"))
    own = Router([subscription("sub_1", "a.dev/_/1/x", backoff={}, ordered=True)], backoffs=backoffs)
    (route,) = own.routes(uri="a.dev/_/1/x", source="kafka", variables=nothing)
    assert (route.policy, route.rule, route.ordered) == (None, ("default", "subscription"), True)


def test_patterns_over_a_uri_are_longest_first() -> None:
    assert list(patterns_over("a.dev/github/repo/1/push")) == [
        *("a.dev/github/repo/1/*", "a.dev/github/repo/*", "a.dev/github/*", "a.dev/*")
    ]


@given(st.lists(URIS | PATTERNS, max_size=12), URIS)
def test_who_matches_is_who_a_pattern_matches(wanted: list[str], uri: str) -> None:
    router = Router(subscription(f"sub_{number}", pattern) for number, pattern in enumerate(wanted))
    expected = {
        f"sub_{number}" for number, text in enumerate(wanted) if UriPattern.parse(text).matches(EventUri.parse(uri))
    }
    found = ids(router, uri)
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_routes_have_a_stable_order_exact_first_then_the_longer_pattern() -> None:
    wanted = ["a.dev/*", "a.dev/_/1/x", "a.dev/_/1/*", "a.dev/_/1/x", "a.dev/_/2/x"]
    router = Router(subscription(f"sub_{number}", uri) for number, uri in enumerate(wanted))
    assert ids(router, "a.dev/_/1/x") == ids(router, "a.dev/_/1/x") == ["sub_1", "sub_3", "sub_2", "sub_0"]


def test_filters_decide_and_their_errors_are_counted() -> None:
    router = Router(
        [
            subscription("sub_all", "a.dev/_/1/x"),
            subscription("sub_big", "a.dev/_/1/x", filter="data.cents > 1000"),
            subscription("sub_small", "a.dev/_/1/x", filter="data.cents <= 1000"),
            subscription("sub_text", "a.dev/_/1/x", filter="data.cents"),
        ]
    )
    assert ids(router, "a.dev/_/1/x", cents=4200) == ["sub_all", "sub_big"]
    assert router.filter_errors == {}
    assert ids(router, "a.dev/_/1/x", dollars=42) == ["sub_all"]
    assert router.filter_errors == {"sub_big": 1, "sub_small": 1, "sub_text": 1}


def test_the_payload_is_read_once_and_only_for_a_filter() -> None:
    asked = []

    def variables() -> Mapping[str, Any]:
        asked.append(1)
        return {"data": {}, "event": {}}

    two = [subscription(f"sub_{number}", "a.dev/_/1/x", filter="true") for number in range(2)]
    router = Router([*two, subscription("sub_9", "a.dev/_/1/y")])
    assert len(router.routes(uri="a.dev/_/1/x", source="kafka", variables=variables)) == 2
    assert len(router.routes(uri="a.dev/_/1/y", source="kafka", variables=nothing)) == 1
    assert asked == [1]


def test_without_subscriptions_nobody_gets_anything() -> None:
    assert Router().routes(uri="a.dev/_/1/x", source="kafka", variables=nothing) == ()
