"""Routing: who gets an event, how urgently, and how often it is tried. One precedence for priorities and back-offs.

The nearest scope wins: the subscription's own value, then the event's (exact URI, then the longest pattern), then the
source's, then the global one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from certes.backoff import Policy
from certes.command import Route
from certes.filters import passes
from certes.subscription import DEFAULT_PRIORITY, StoredSubscription

T = TypeVar("T")


class Rules(Generic[T]):
    """Values by scope: `global`, `source/{name}`, `event/{URI or pattern}`."""

    def __init__(self, values: Mapping[str, T]) -> None:
        self._values = values

    def decide(self, own: T | None, *, uri: str, source: str) -> tuple[T | None, str]:
        """The value that counts and the scope that decided: `subscription`, a scope, or `default` without any."""
        if own is not None:
            return own, "subscription"
        for scope in self._scopes(uri, source):
            if scope in self._values:
                return self._values[scope], scope
        return None, "default"

    @staticmethod
    def _scopes(uri: str, source: str) -> Iterator[str]:
        yield f"event/{uri}"
        yield from (f"event/{pattern}" for pattern in patterns_over(uri))
        yield f"source/{source}"
        yield "global"


def patterns_over(uri: str) -> Iterator[str]:
    """The patterns that match an event URI, longest first: `a/b/1/*`, `a/b/*`, `a/*`."""
    end = len(uri)
    while (end := uri.rfind("/", 0, end)) > 0:
        yield uri[: end + 1] + "*"


class Router:
    """Finds the routes of an event: URI index first, then the filters. It is rebuilt when its configuration changes.

    `filter_errors` counts, by subscription, the filters that could not be computed; such an event does not pass.
    """

    def __init__(
        self,
        subscriptions: Iterable[StoredSubscription] = (),
        *,
        priorities: Mapping[str, int] | None = None,
        backoffs: Mapping[str, Policy] | None = None,
    ) -> None:
        self._by_uri: dict[str, list[StoredSubscription]] = {}
        for one in subscriptions:
            self._by_uri.setdefault(one.spec.uri, []).append(one)
        self._priorities = Rules(priorities or {})
        self._backoffs = Rules(backoffs or {})
        self.filter_errors: Counter[str] = Counter()

    def matching(self, uri: str) -> list[StoredSubscription]:
        """The subscriptions whose URI or pattern matches, in a stable order."""
        found = list(self._by_uri.get(uri, ()))
        for pattern in patterns_over(uri):
            found += self._by_uri.get(pattern, ())
        return found

    def routes(self, *, uri: str, source: str, variables: Callable[[], Mapping[str, Any]]) -> tuple[Route, ...]:
        """Who gets the event. `variables` (`data`, `event` of the filters) is asked for only when a filter needs it."""
        seen: Mapping[str, Any] | None = None
        routes = []
        for one in self.matching(uri):
            if one.spec.filter is not None:
                seen = variables() if seen is None else seen
                if not self._passes(one, seen):
                    continue
            routes.append(self._route(one, uri, source))
        return tuple(routes)

    def _passes(self, one: StoredSubscription, variables: Mapping[str, Any]) -> bool:
        verdict = passes(one.spec.filter or "true", variables)
        if verdict is None:
            self.filter_errors[one.id] += 1
        return verdict is True

    def _route(self, one: StoredSubscription, uri: str, source: str) -> Route:
        priority, priority_rule = self._priorities.decide(one.spec.priority, uri=uri, source=source)
        policy, backoff_rule = self._backoffs.decide(one.spec.backoff, uri=uri, source=source)
        return Route(
            subscription=one.id,
            priority=DEFAULT_PRIORITY if priority is None else priority,
            ordered=one.spec.ordered,
            policy=None if policy is None else policy.compact(),
            rule=(priority_rule, backoff_rule),
        )
