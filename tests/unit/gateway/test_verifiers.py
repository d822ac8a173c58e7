from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from certes.errors import Unauthorized
from certes.gateway.verifiers import given_id, verify
from certes.source import Source

NOW = 1_700_000_000.0
SECRET = "It's a Secret to Everybody"
URI = "a.dev/_/1/x"
#: The vector of GitHub's documentation.
GITHUB = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}


def source(scheme: str = "hmac", *secrets: str, **fields: Any) -> Source:
    scheme_fields = {"header": "x-sig", **fields} if scheme == "hmac" else None
    return Source.model_validate({"scheme": scheme, "secrets": secrets, "uri": URI, "hmac": scheme_fields})


def accepts(one: Source, headers: dict[str, str], body: bytes = b"Hello, World!", now: float = NOW) -> bool:
    try:
        verify(one, headers, body, now=now)
    except Unauthorized:
        return False
    return True


def test_github_as_documented() -> None:
    assert accepts(source("github", SECRET), GITHUB)
    assert accepts(source("github", "new", SECRET), GITHUB), "any of several secrets"
    assert accepts(source("github", SECRET), {"x-hub-signature-256": GITHUB["x-hub-signature-256"].replace("7e", "7E")})
    assert not accepts(source("github", SECRET), GITHUB, b"Hello, World")
    assert not accepts(source("github", "other"), GITHUB)
    assert not accepts(source("github"), GITHUB), "without a secret nothing is genuine"


@pytest.mark.parametrize("value", ["", "sha256=", "sha1=00", GITHUB["x-hub-signature-256"][7:], "\udcff", "sha256=ü"])
def test_github_headers_that_prove_nothing(value: str) -> None:
    assert not accepts(source("github", SECRET), {"x-hub-signature-256": value})


def test_none_lets_everything_pass() -> None:
    assert accepts(source("none"), {})


def test_a_scheme_without_its_fields_is_closed() -> None:
    assert not accepts(Source(scheme="hmac", secrets=("s",), uri=URI), {"x-sig": "x"})


def test_slack_as_data() -> None:
    body, at = b"token=xyz&team_id=T1", 1_531_420_618
    signature = hmac.new(b"8f742231b10e8888abcd99yyyzzz85a5", b"v0:%d:%b" % (at, body), hashlib.sha256).hexdigest()
    slack = source(
        "hmac",
        "8f742231b10e8888abcd99yyyzzz85a5",
        prefix="v0=",
        signed="v0:{timestamp}:{body}",
        timestamp_header="x-ts",
    )
    headers = {"x-sig": f"v0={signature}", "x-ts": str(at)}
    assert accepts(slack, headers, body, now=at)
    assert accepts(slack, headers, body, now=at + 300)
    assert accepts(slack, headers, body, now=at - 300)
    assert not accepts(slack, headers, body, now=at + 301)
    assert not accepts(slack, headers, body, now=at - 301)
    for stamp in ("", "x", "-1", "1.5", "٣", "9" * 16, str(at + 1)):
        assert not accepts(slack, {**headers, "x-ts": stamp}, body, now=at)
    assert not accepts(slack, {"x-sig": headers["x-sig"]}, body, now=at)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_algorithms_and_encodings(algorithm: str, encoding: str) -> None:
    digest = hmac.digest(b"s", b"id.body", algorithm)
    signature = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    one = source(
        "hmac", "s", algorithm=algorithm, encoding=encoding, delimiter=" ", signed="{id}.{body}", id_header="x-id"
    )
    assert accepts(one, {"x-sig": f"old {signature}", "x-id": "id"}, b"body")
    assert not accepts(one, {"x-sig": f"old{signature}", "x-id": "id"}, b"body")
    assert not accepts(one, {"x-sig": signature}, b"body")


@pytest.mark.parametrize(("encoding", "secret"), [("base64", "a2V5"), ("hex", "6b6579"), ("utf8", "key")])
def test_encodings_of_secrets(encoding: str, secret: str) -> None:
    signature = hmac.new(b"key", b"b", hashlib.sha256).hexdigest()
    assert accepts(source("hmac", "&%", secret, secret_encoding=encoding), {"x-sig": signature}, b"b")


def test_an_unreadable_secret_is_no_empty_key() -> None:
    signature = hmac.new(b"", b"b", hashlib.sha256).hexdigest()
    for encoding, secret in (("base64", "&%"), ("base64", "===="), ("hex", "xyz"), ("hex", " ")):
        assert not accepts(source("hmac", secret, secret_encoding=encoding), {"x-sig": signature}, b"b")


def test_schemes_that_prove_nothing_are_closed() -> None:
    for signed in ("", "{timestamp}", "{id}", "{timestamp}.{body}", "{id}.{body}"):
        for filled in (b"", b".b", b"b"):
            signature = hmac.new(b"s", filled, hashlib.sha256).hexdigest()
            assert not accepts(source("hmac", "s", signed=signed), {"x-sig": signature}, b"b")


def test_standard_webhooks_as_the_official_library_signs() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(NOW, UTC), "{}")
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(NOW)), "webhook-signature": signature}
    assert accepts(source("standard", secret), headers, b"{}")
    assert accepts(source("standard", "no base64!", secret), headers, b"{}")
    assert not accepts(source("standard", "no base64!"), headers, b"{}")
    assert not accepts(source("standard", secret), headers, b"{} ")
    assert not accepts(source("standard", secret), headers, b"{}", now=NOW + 301)


def test_ids_that_third_parties_give() -> None:
    headers = {"x-github-delivery": "d", "webhook-id": "w", "x-own": "o"}
    assert given_id(source("github", "s"), headers) == "d"
    assert given_id(source("standard", "s"), headers) == "w"
    assert given_id(source("none"), headers) is None
    assert given_id(source("hmac", "s", id_header="x-own"), headers) == "o"
    assert given_id(Source(scheme="github", uri=URI, id_header="x-own"), headers) == "o"
    assert given_id(Source(scheme="github", uri=URI), {"x-github-delivery": ""}) is None


NAMES = st.sampled_from(
    ["x-sig", "x-ts", "x-id", "x-hub-signature-256", "webhook-id", "webhook-timestamp", "webhook-signature"]
)
#: As an HTTP server hands headers out: bytes, decoded with surrogates for what is no UTF-8.
VALUES = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")) | st.sampled_from(
    ["v1,", "v1,x v1", "sha256=", str(int(NOW)), " ", ",,,"]
)
SOURCES = st.builds(
    source,
    st.sampled_from(["github", "hmac", "standard"]),
    st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20),
    algorithm=st.sampled_from(["sha1", "sha256", "sha384", "sha512"]),
    encoding=st.sampled_from(["hex", "base64"]),
    secret_encoding=st.sampled_from(["utf8", "base64", "hex"]),
    prefix=st.sampled_from(["", "v1="]),
    delimiter=st.sampled_from(["", ",", " "]),
    id_header=st.sampled_from([None, "x-id"]),
    timestamp_header=st.sampled_from([None, "x-ts"]),
    signed=st.sampled_from(["{body}", "{timestamp}.{body}", "{id}.{timestamp}.{body}"])
    | st.text("{}bodyi", max_size=8),
)


@given(SOURCES, st.dictionaries(NAMES, VALUES), st.binary(max_size=40))
def test_whatever_comes_the_only_error_is_unauthorized(one: Source, headers: dict[str, str], body: bytes) -> None:
    assert not accepts(one, headers, body), "nobody guesses a signature"
