"""Whatever is sent, the answer is one of the contract: never a 500, and every refusal a problem document."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certes.api.app import VIEWS
from certes.event import Problem
from tests.apps.master import EVENT, Answer, Bus, MasterWorker, attempt, call, delivery, row

KNOWN = (
    row(1).id, "sub_a", "global", f"event/{EVENT}", "event/a.dev/*", "source/github", "github", "events", "due", EVENT,
    "subscriptions", "config", "keys", "evt_", "kafka",
)  # fmt: skip
PARTS = st.sampled_from([*KNOWN, *KNOWN]) | st.sampled_from(KNOWN) | st.text(max_size=20)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REAL = [(path, method) for path, view in VIEWS.items() for method in METHODS if hasattr(view, method.lower())]
OTHER = [(path, method) for path in ("/internal/config", "/internal/lag", "/healthz", "/readyz", "/api/", "/api/keys")
         for method in ("GET", "PUT", "OPTIONS")]  # fmt: skip
CALLS = st.sampled_from([*REAL, *REAL, *OTHER])
NAMES = ["limit", "cursor", "uri", "state", "source", "subscription", "since", "until", "q", "after", "version",
         "versions", "dry_run", "offset"]  # fmt: skip
TEXTS = st.sampled_from(
    ["1", "0", "-1", "true", "all", "1.0", "0/1", "a.dev/*", "delivered", "2023-11-14T22:13:20Z", "0001-01-01T00:00:00Z",
     "9999-12-31T23:59:59.999999-23:59", "WzFd", "WzEsMSwxXQ", "WyJhIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDgsMSwxXQ"]
) | st.text(max_size=20)  # fmt: skip
QUERIES = st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=3)
FIELDS = st.sampled_from(
    ["uri", "destination", "url", "headers", "filter", "priority", "backoff", "paused_until", "scheme", "secrets",
     "schema", "name", "roles", "expires_at", "flags", "grace_seconds", "subscription", "strategy", "schedule", "hmac",
     "initial_seconds", "max_retries"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10)
    | st.sampled_from([EVENT, "http://a.dev/x", "http://a.dev:99999", "http://[x", "github", "none", "2024-01-01T00:00:00Z",
                       "0001-01-01T00:00:00Z", "-1", "data.a == 1", "events:read", "admin", "schedule", "********"])
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip
WHOLE = st.sampled_from(
    [{"uri": EVENT, "destination": {"url": "http://a.dev/"}}, {"priority": 3}, {"scheme": "none", "uri": EVENT}, {},
     {"name": "a", "roles": ["events:read"]}, {"flags": {"a": True}}, {"schema": "{}"}, {"schema": {"type": "record"}}]
)  # fmt: skip
BODIES = JSON | st.builds(lambda whole, some: {**whole, **some}, WHOLE, st.dictionaries(FIELDS, JSON, max_size=2))
HEADERS = st.dictionaries(
    st.sampled_from(["if-match", "if-none-match", "certes-actor", "certes-hop", "content-type"]),
    st.sampled_from(["*", '"x"', 'W/"x", "y"', "1", "%ff%00", "text/plain", ",", "application/json; charset=nonsense"]),
    max_size=2,
)
ALLOWED = {200, 201, 202, 204, 400, 401, 404, 405, 409, 410, 412, 413, 422, 503, 504}


@given(
    route=CALLS,
    parts=st.lists(PARTS, min_size=3, max_size=3),
    query=QUERIES,
    body=st.none() | BODIES | st.binary(max_size=50),
    headers=HEADERS,
)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_call_is_answered_by_the_contract(
    route: tuple[str, str], parts: list[str], query: dict[str, str], body: Any, headers: dict[str, str]
) -> None:
    path, method = route
    for name, part in zip(("id", "name", "table"), parts, strict=True):
        path = path.replace(f"{{{name}}}", quote(part, safe="*/"))
    for name in ("scope:.+", "uri:.+", "key:.+"):
        path = path.replace(f"{{{name}}}", quote(parts[0], safe="*/"))
    target = f"{path}?{urlencode(query)}" if query else path
    answer = asyncio.run(_called(method, target, body, headers))
    assert answer.status in ALLOWED, answer.body
    if answer.status >= 400 and path not in ("/healthz", "/readyz"):
        assert answer.json["status"] == answer.status
        assert {"type", "title", "detail"} <= answer.json.keys()


async def _called(method: str, target: str, body: Any, headers: dict[str, str]) -> Answer:
    worker = MasterWorker(Bus(), name="w1", partitions=range(4))
    await worker.start()
    try:
        tried = delivery(state="waiting", attempts=(attempt(1, error="500"),))
        worker.put(row(1, deliveries=(tried,), errors=(Problem("odd"),)))
        await call(worker, "PUT", "/api/subscriptions/sub_a", {"uri": EVENT, "destination": {"url": "http://a.dev/"}})
        worker.folded[0] = worker.ends[0] = 2**61  # what is asked for is folded: nobody has to wait
        return await call(worker, method, target, body, headers=headers)
    finally:
        await worker.stop()
