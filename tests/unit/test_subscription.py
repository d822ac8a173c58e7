from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certes.clock import from_rfc3339, rfc3339
from certes.subscription import DEFAULT_PRIORITY, Destination, Secret, StoredSubscription, Subscription

URL = "https://app.meetly.com/hooks"
MINIMAL = {"uri": "a.dev/_/1/x", "destination": {"url": URL}}


def subscription(**fields: Any) -> Subscription:
    return Subscription.model_validate({**MINIMAL, **fields})


def test_the_defaults_are_those_of_the_contract() -> None:
    assert subscription().model_dump(mode="json") == {
        "uri": "a.dev/_/1/x",
        "destination": {"type": "http", "url": URL, "headers": {}},
        "filter": None,
        "priority": None,
        "backoff": None,
        "ordered": False,
        "on_exhausted": "skip",
        "max_in_flight": 32,
        "rate_per_second": None,
        "timeout_seconds": 15.0,
        "format": "json",
        "enabled": True,
        "paused_until": None,
        "description": "",
    }
    assert DEFAULT_PRIORITY == 4


def test_what_is_shown_reads_back() -> None:
    full = subscription(
        uri="a.dev/_/*",
        filter="data.x > 1",
        priority=9,
        backoff={"factor": 2},
        paused_until="2026-11-24T16:03:00+02:00",
    )
    assert Subscription.model_validate(full.model_dump(mode="json")) == full


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"uri": "a.dev/x"}, "is no event URI"),
        ({"uri": "a.dev/*/1/x"}, "is no name"),
        ({"filter": "data.ref = 1"}, "is no CEL expression"),
        ({"filter": "payload.ref == 1"}, "nothing is called payload"),
        ({"filter": "1 == 1" + " " * 5000}, "at most 4096 characters"),
        ({"priority": 10}, "less than or equal to 9"),
        ({"priority": -1}, "greater than or equal to 0"),
        ({"backoff": {"strategy": "schedule"}}, "at least one entry"),
        ({"max_in_flight": 0}, "greater than or equal to 1"),
        ({"rate_per_second": 0}, "greater than 0"),
        ({"rate_per_second": float("nan")}, "less than or equal to"),
        ({"timeout_seconds": float("inf")}, "less than or equal to 600"),
        ({"paused_until": "2026-11-24T16:03:00"}, "timezone"),
        ({"paused_until": "0001-01-01T00:00:00+14:00"}, "out of range"),
        ({"on_exhausted": "panic"}, "'skip' or 'block'"),
        ({"enabled_": True}, "Extra inputs are not permitted"),
    ],
)
def test_a_subscription_that_cannot_work_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        subscription(**fields)


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:8080/", "http://[::1]:8080/x?y=z", "HTTPS://Host/é", "http://user.meetly.com/a@b"]
)
def test_addresses_are_kept_as_they_are(url: str) -> None:
    assert Destination(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "app.meetly.com/hooks", "ftp://host/", "file:///etc/passwd", "http://", "http:///x", "//host/"),
        *("http://user:pw@host/", "http://user@host/", "http://h\\@evil/", "http://host:port/", "http://host:99999/"),
        *(
            "http://[::1",
            "http://ho\nst/",
            "http://host/\r\nx: y",
            "http://host/a b",
            "http://host/\x00",
            " http://host",
        ),
        "http://host/" + "x" * 2048,
    ],
)
def test_hostile_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Destination(url=url)


@given(st.text() | st.text().map("http://".__add__))
def test_any_address_is_taken_as_it_is_or_refused(url: str) -> None:
    try:
        taken = Destination(url=url).url
    except ValidationError:
        return
    assert taken == url
    assert not re.search(r"[\x00-\x20\x7f]", taken)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("a\r\nb", "x"),
            ("é", "x"),
            ("a", "x\r\ny: z"),
            ("a", "\x00"),
            ("a", "\x7f"),
        ),
        *(("Host", "x"), ("content-length", "0"), ("Transfer-Encoding", "chunked"), ("Content-Type", "text/plain")),
        *(
            ("Webhook-Signature", "v1,x"),
            ("CE-id", "x"),
            ("certes-attempt", "1"),
            ("traceparent", "x"),
            ("a", "x" * 4097),
        ),
    ],
)
def test_hostile_headers_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Destination(url=URL, headers={name: value})


def test_headers_of_the_subscribers_own_are_kept() -> None:
    headers = {"Authorization": "Bearer x", "X-Team": "blue, green", "x-empty": ""}
    assert Destination(url=URL, headers=headers).headers == headers


def test_held_while_disabled_or_paused() -> None:
    moment = from_rfc3339("2026-11-24T16:03:00Z")
    assert not subscription().held(moment)
    assert subscription(enabled=False).held(moment)
    paused = subscription(paused_until="2026-11-24T17:03:00+01:00")
    assert [paused.held(moment + delta) for delta in (-1, -0.001, 0, 1)] == [True, True, False, False]
    assert subscription(enabled=False, paused_until="2026-11-24T16:03:00Z").held(moment + 1)


def test_times_are_shown_in_utc() -> None:
    paused = subscription(paused_until="2026-11-24T17:03:00+01:00")
    assert paused.model_dump(mode="json")["paused_until"] == "2026-11-24T16:03:00Z"


def test_a_secret_is_valid_until_it_expires() -> None:
    moment = 1_700_000_000.25
    secret = Secret(secret="whsec_x", created_at=rfc3339(0), expires_at=rfc3339(moment))
    assert [secret.valid(moment + delta) for delta in (-60, -0.001, 0, 60)] == [True, True, False, False]
    assert Secret(secret="whsec_x", created_at=rfc3339(0)).valid(9e9)


def test_secrets_are_neither_shown_nor_printed() -> None:
    secret = Secret(secret="whsec_topsecret", created_at=rfc3339(0))
    stored = StoredSubscription(
        id="sub_1", created_at=rfc3339(0), updated_at=rfc3339(1), secrets=(secret,), spec=subscription(priority=3)
    )
    public = stored.public()
    assert (public["id"], public["priority"], public["updated_at"]) == ("sub_1", 3, "1970-01-01T00:00:01.000Z")
    assert "secrets" not in public
    for text in (str(public), repr(stored), str(stored), repr(secret)):
        assert "topsecret" not in text
    assert StoredSubscription.model_validate(stored.model_dump(mode="json")) == stored
