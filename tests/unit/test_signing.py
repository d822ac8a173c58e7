from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from certes.errors import Unauthorized
from certes.signing import SECRET_PREFIX, new_secret, record_mac, secret_key, sign, verify

VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        b'{"event_type":"ping","data":{"success":true}}',
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
]
SECRET, MESSAGE, STAMP, BODY, SIGNATURE = VECTORS[0]
KEY = secret_key(SECRET)
ANY_TEXT = st.text(st.characters())  # surrogates too
HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "a", "b"]) | ANY_TEXT, st.binary(max_size=4)), max_size=4
)


def call(**changes: str) -> dict[str, str]:
    """The headers of vector A, with changes; `webhook_id=...`."""
    headers = {"webhook-id": MESSAGE, "webhook-timestamp": str(STAMP), "webhook-signature": SIGNATURE}
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(("secret", "message_id", "timestamp", "body", "signature"), VECTORS)
def test_the_published_vectors(secret: str, message_id: str, timestamp: int, body: bytes, signature: str) -> None:
    for written in (secret, secret.removeprefix(SECRET_PREFIX)):
        assert sign([secret_key(written)], message_id=message_id, timestamp=timestamp, body=body) == signature
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    verify(headers, body, keys=[secret_key(secret)], now=timestamp)


@given(st.binary(min_size=1, max_size=64), st.text(st.characters(exclude_categories=["C"]), min_size=1), st.text())
def test_the_official_library_accepts_what_we_sign_and_we_what_it_signs(key: bytes, message_id: str, text: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    document = json.dumps({"text": text}, ensure_ascii=False)
    official = Webhook(SECRET_PREFIX + base64.b64encode(key).decode())
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now)}
    ours = sign([b"other", key], message_id=message_id, timestamp=now, body=document.encode())
    assert official.verify(document.encode(), headers | {"webhook-signature": ours}) == {"text": text}
    theirs = official.sign(message_id, datetime.fromtimestamp(now, UTC), document)
    verify(headers | {"webhook-signature": theirs}, document.encode(), keys=[key], now=now)


def test_the_official_library_verifies_a_rotation() -> None:
    now = int(datetime.now(UTC).timestamp())
    old, new = new_secret(), new_secret()
    body = b'{"order": "o-1"}'
    signature = sign([secret_key(old), secret_key(new)], message_id="evt_1", timestamp=now, body=body)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now), "webhook-signature": signature}
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers) == {"order": "o-1"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook_id": ""}, "are needed"),
        ({"webhook_timestamp": ""}, "are needed"),
        ({"webhook_signature": ""}, "are needed"),
        ({"webhook_timestamp": "soon"}, "whole seconds"),
        ({"webhook_timestamp": f"{STAMP}.5"}, "whole seconds"),
        ({"webhook_timestamp": f"-{STAMP}"}, "whole seconds"),
        ({"webhook_timestamp": f" {STAMP}"}, "whole seconds"),
        ({"webhook_timestamp": "١٦١٤٢٦٥٣٣٠"}, "whole seconds"),
        ({"webhook_timestamp": "9" * 5000}, "whole seconds"),
        ({"webhook_timestamp": str(STAMP - 301)}, "five minutes"),
        ({"webhook_timestamp": str(STAMP + 301)}, "five minutes"),
        ({"webhook_timestamp": str(STAMP + 1)}, "no signature matches"),
        ({"webhook_id": "msg_other"}, "no signature matches"),
        ({"webhook_id": "\ud800"}, "text that a header can hold"),
        ({"webhook_id": "\udc80"}, "no signature matches"),
        ({"webhook_signature": "v2," + SIGNATURE[3:]}, "no signature matches"),
        ({"webhook_signature": SIGNATURE[3:]}, "no signature matches"),
        ({"webhook_signature": SIGNATURE.rstrip("=")}, "no signature matches"),
        ({"webhook_signature": SIGNATURE.upper()}, "no signature matches"),
        ({"webhook_signature": SIGNATURE + "x"}, "no signature matches"),
        ({"webhook_signature": "v1"}, "no signature matches"),
        ({"webhook_signature": ", v1, é"}, "no signature matches"),
        ({"webhook_signature": "v1,\ud800"}, "text that a header can hold"),
    ],
)
def test_other_headers_are_refused_with_the_reason(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unauthorized, match=reason):
        verify(call(**changes), BODY, keys=[KEY], now=STAMP)


@pytest.mark.parametrize("name", list(call()))
def test_a_missing_header_is_refused(name: str) -> None:
    headers = call()
    del headers[name]
    with pytest.raises(Unauthorized, match="are needed"):
        verify(headers, BODY, keys=[KEY], now=STAMP)


def test_one_good_signature_for_one_of_the_keys_is_enough() -> None:
    verify(call(webhook_signature=f"v1,bad v2,x {SIGNATURE} junk"), BODY, keys=[b"new", KEY], now=STAMP)
    for now in (STAMP - 300, STAMP + 300):
        verify(call(), BODY, keys=[KEY], now=now)


@pytest.mark.parametrize(("body", "keys"), [(BODY + b" ", [KEY]), (BODY, [b"other"]), (BODY, [])])
def test_another_body_or_secret_or_none_at_all_is_refused(body: bytes, keys: Sequence[bytes]) -> None:
    with pytest.raises(Unauthorized, match="no signature matches"):
        verify(call(), body, keys=keys, now=STAMP)


@given(ANY_TEXT, st.sampled_from([str(STAMP), ""]) | ANY_TEXT, ANY_TEXT | ANY_TEXT.map("v1,".__add__))
def test_any_other_headers_raise_unauthorized_and_nothing_else(message_id: str, stamp: str, signature: str) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(Unauthorized):
        verify(headers, BODY, keys=[KEY], now=STAMP)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_é", "whsec_MfKQ9", "whsec_MfKQ9r8G!", "whsec_\ud800", "whsec_-_-_"]
)
def test_what_is_no_secret_is_a_value_error_that_does_not_tell_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"a secret (is whsec_ and base64|must not be empty)") as refused:
        secret_key(secret)
    assert "r8G!" not in str(refused.value)


def test_a_new_secret_has_32_random_bytes() -> None:
    one, other = new_secret(), new_secret()
    assert one.startswith("whsec_")
    assert one != other
    assert len(secret_key(one)) == 32


def in_order_of_name(headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return sorted(headers, key=lambda header: header[0])


@given(HEADERS, st.binary(max_size=8), HEADERS, st.binary(max_size=8))
def test_two_records_have_one_mac_only_when_they_are_the_same(
    headers: list[tuple[str, bytes]], value: bytes, others: list[tuple[str, bytes]], other: bytes
) -> None:
    same = in_order_of_name(headers) == in_order_of_name(others) and value == other
    assert (record_mac(b"k", headers, value) == record_mac(b"k", others, other)) == same


@given(HEADERS.filter(lambda headers: bool(headers) and bool(headers[-1][1])), st.binary(max_size=12))
def test_bytes_that_move_from_a_header_to_the_value_change_the_mac(
    headers: list[tuple[str, bytes]], value: bytes
) -> None:
    """The same bytes in a row, cut otherwise."""
    name, content = headers[-1]
    for place in range(len(content)):
        moved = [*headers[:-1], (name, content[:place])]
        assert record_mac(b"k", moved, content[place:] + value) != record_mac(b"k", headers, value)


def test_the_order_of_names_does_not_matter_but_that_of_repeats_does() -> None:
    one, two = ("a", b"1"), ("b", b"2")
    assert record_mac(b"k", [one, two], b"v") == record_mac(b"k", [two, one], b"v")
    again = ("a", b"2")
    assert record_mac(b"k", [one, again], b"v") != record_mac(b"k", [again, one], b"v")
    assert record_mac(b"k", [one], b"v") != record_mac(b"other", [one], b"v")
