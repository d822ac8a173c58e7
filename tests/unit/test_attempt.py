"""The call of an attempt, and what its answer leads to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from certes.attempt import ERROR_CHARS, Answer, Body, closed, prepare, settle
from certes.clock import rfc3339
from certes.delivery import Delivery
from certes.event import EventRow
from certes.records import JSON
from certes.signing import new_secret
from certes.subscription import Destination, Secret, StoredSubscription, Subscription
from schemas.own import encode_outcomes

NOW = 1_700_000_000.5
BODY = Body(b'{"a": 1}', JSON)


def row(**kwargs):
    fields = {
        "v": 1,
        "id": "evt_1",
        "partition": 0,
        "offset": 1,
        "applied": 1,
        "received_at": 3,
        "checksum": 4,
        "size": 5,
    }
    return EventRow(**{**fields, "state": "delivering", "source": "github", "uri": "a.dev/_/1/x", **kwargs})


def delivery(**kwargs):
    return Delivery("sub_1", **{"state": "pending", "priority": 4, "due": 0, "since": 0, **kwargs})


def subscription(*secrets, headers=None, **spec):
    destination = Destination(url="https://app.example/hooks", headers=headers or {})
    made = [
        one if isinstance(one, Secret) else Secret(secret=one, created_at=rfc3339(0))
        for one in secrets or [new_secret()]
    ]
    return StoredSubscription(
        id="sub_1",
        created_at=rfc3339(0),
        updated_at=rfc3339(0),
        secrets=made,
        spec=Subscription(uri="a.dev/_/1/x", destination=destination, **spec),
    )


def call(one=None, *, to=None, of=None, body=BODY, now=NOW):
    return prepare(one or row(), of or delivery(), to or subscription(), body=body, trace="ec.9", now=now)


def test_a_handler_gets_the_headers_of_the_contract():
    one = row(
        given_id="o-1", ce_source="/repo/7", time="2026-01-01T00:00:00Z", key="customer-7", trace=("gw.1", "eb.0-1"),
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )  # fmt: skip
    made = call(one, of=delivery(attempt=2), to=subscription(headers={"x-team": "shop"}, timeout_seconds=3))
    assert (made.url, made.body, made.timeout) == ("https://app.example/hooks", BODY.content, 3)
    signature = made.headers["webhook-signature"]
    assert dict(made.headers) == {
        "x-team": "shop",
        "content-type": "application/json",
        "webhook-id": "evt_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": signature,
        "ce-specversion": "1.0",
        "ce-type": "a.dev/_/1/x",
        "ce-id": "o-1",
        "ce-source": "/repo/7",
        "ce-time": "2026-01-01T00:00:00Z",
        "ce-partitionkey": "customer-7",
        "certes-attempt": "3",
        "certes-trace": "gw.1,eb.0-1,ec.9",
        "traceparent": one.traceparent,
    }


def test_what_the_event_lacks_is_left_out():
    headers = call().headers
    assert (headers["ce-id"], headers["ce-source"]) == ("evt_1", "github")  # both are required in a CloudEvent
    assert not {"traceparent", "ce-time", "ce-partitionkey", "certes-replay"} & set(headers)
    assert call(of=delivery(job="job_7")).headers["certes-replay"] == "job_7"


def verified(made, secret):
    Webhook(secret).verify(made.body, dict(made.headers), json_parse=False)


@pytest.mark.parametrize("content", [b"", b"{}", b"no JSON", "ü€".encode()])
def test_the_official_library_accepts_the_signature(content):
    secret = new_secret()
    made = call(to=subscription(secret), body=Body(content, JSON), now=time.time())
    verified(made, secret)
    with pytest.raises(WebhookVerificationError):
        verified(made, new_secret())


def test_every_valid_secret_signs():
    now = time.time()
    current, leaving, gone = new_secret(), new_secret(), new_secret()
    made = call(
        to=subscription(
            current,
            Secret(secret=leaving, created_at=rfc3339(0), expires_at=rfc3339(now + 60)),
            Secret(secret=gone, created_at=rfc3339(0), expires_at=rfc3339(now - 60)),
        ),
        now=now,
    )
    assert len(made.headers["webhook-signature"].split()) == 2
    verified(made, current)
    verified(made, leaving)
    with pytest.raises(WebhookVerificationError):
        verified(made, gone)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_of_an_event_breaks_out_of_its_header(source, ce_source, key, content_type):
    one = row(source=source, ce_source=ce_source, key=key, given_id=key, time=key)
    for value in call(one, body=Body(b"", content_type)).headers.values():
        assert value.isascii()
        assert value.isprintable()


def test_hostile_attributes_are_percent_encoded():
    headers = call(row(ce_source='x\r\nevil: 1 %"é')).headers
    assert headers["ce-source"] == "x%0D%0Aevil:%201%20%25%22%C3%A9"
    assert call(body=Body(b"", "text/plain\r\nevil: 1")).headers["content-type"] == "application/octet-stream"
    kept = 'application/json; charset="utf-8"'
    assert call(body=Body(b"", kept)).headers["content-type"] == kept


# -- settle


def outcome(answer, *, of=None, at=1_000, took=500, roll=0.5):
    return settle(row(), of or delivery(), answer, at=at, duration_ms=took, roll=roll, trace="ec.9")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_delivered(status):
    one = outcome(Answer(status, body=b"fine"), of=delivery(attempt=4, epoch=3))
    assert (one.state, one.status, one.error, one.response) == ("delivered", status, None, "fine")
    assert (one.event, one.subscription, one.epoch, one.attempt, one.trace) == ("evt_1", "sub_1", 3, 5, "ec.9")


@pytest.mark.parametrize(
    "answer", [Answer(301), Answer(400), Answer(410), Answer(500), Answer(199), Answer(error="time-out")]
)
def test_everything_else_waits_for_its_next_try(answer):
    one = outcome(answer)
    assert (one.state, one.due) == ("waiting", 1_500 + 5_000)  # first retry of the default policy
    assert one.error == (answer.error or f"answered {answer.status}")


@pytest.mark.parametrize(
    ("policy", "retry_after", "delay_ms"),
    [
        ({"initial_seconds": 10.0, "jitter": 0.0}, None, 10_000),
        ({"initial_seconds": 10.0, "jitter": 0.0}, 3.0, 10_000),  # not sooner than the policy
        ({"initial_seconds": 10.0, "jitter": 0.0}, 60.0, 60_000),
        ({"initial_seconds": 10.0, "jitter": 0.0, "max_delay_seconds": 30.0}, 3_600.0, 30_000),  # up to the cap
    ],
)
def test_retry_after_is_obeyed_up_to_the_cap(policy, retry_after, delay_ms):
    one = outcome(Answer(503, retry_after=retry_after), of=delivery(policy=policy))
    assert one.due == 1_500 + delay_ms


def test_it_is_exhausted_by_the_number_of_retries():
    policy = {"max_retries": 2}
    assert [outcome(Answer(500), of=delivery(attempt=n, policy=policy)).state for n in range(4)] == [
        "waiting",
        "waiting",
        "exhausted",
        "exhausted",
    ]


def test_it_is_exhausted_now_when_the_next_try_could_only_come_too_late():
    policy = {"initial_seconds": 10.0, "factor": 1.0, "jitter": 0.0, "max_elapsed_seconds": 60.0}
    assert outcome(Answer(500), of=delivery(policy=policy, since=1_000), at=50_000, took=1_000).state == "waiting"
    late = outcome(Answer(500), of=delivery(policy=policy, since=1_000), at=50_000, took=1_001)
    assert (late.state, late.due) == ("exhausted", 0)
    asked = Answer(503, retry_after=61.0)
    assert outcome(asked, of=delivery(policy={**policy, "max_delay_seconds": 100.0}, since=1_000)).state == "exhausted"


@given(
    st.builds(
        Answer, st.none() | st.integers(100, 599), st.none() | st.text(), st.none() | st.floats(0, 1e9), st.binary()
    ),
    st.integers(0, 50),
    st.floats(0, 1),
)
def test_every_answer_leads_to_an_outcome_that_goes_onto_the_log(answer, attempt, roll):
    one = outcome(answer, of=delivery(attempt=attempt), roll=roll)
    assert one.state in ("delivered", "waiting", "exhausted")
    assert (one.error is None) == (one.state == "delivered")
    assert one.state != "waiting" or 1_500 <= one.due <= 1_500 + 21_600_000
    assert len(encode_outcomes([one])) == 1


def test_an_error_is_kept_short_and_writable():
    one = outcome(Answer(error="bad \udcff" + "x" * 10_000))
    assert len(one.error) == ERROR_CHARS
    assert one.error.startswith("bad ?")
    encode_outcomes([one])


@pytest.mark.parametrize("state", ["cancelled", "expired"])
def test_a_delivery_can_be_closed_without_a_call(state):
    one = closed(row(), delivery(attempt=1), state=state, reason="why", at=7)
    assert (one.state, one.error, one.attempt, one.at, one.status, one.due) == (state, "why", 2, 7, None, 0)
