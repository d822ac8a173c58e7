from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import UriError
from certes.uri import MAX_LENGTH, MAX_NESTING, EventUri, UriPattern, gateway_url

PARTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,6}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
URIS = st.builds(
    EventUri,
    domain=DOMAINS,
    namespace=st.lists(PARTS, min_size=1, max_size=5).map("/".join),
    version=st.integers(0, 999_999_999),
    event=PARTS,
)
#: Texts near to URIs, so that the rules are met and not only the first of them.
NEARLY = st.lists(st.sampled_from(["a.dev", "_", "github", "1", "01", "push", "*", "", ".", "é", "-x", "A"])).map(
    "/".join
)

REFUSED = "refused: "


def outcome(read: Callable[[str], object], text: str) -> str:
    """What was read, printed, or the reason against it."""
    try:
        return str(read(text))
    except UriError as error:
        return f"{REFUSED}{error}"


@pytest.mark.parametrize(
    ("text", "domain", "namespace", "version", "event"),
    [
        ("community.certes.dev/github/repo/1/push", "community.certes.dev", "github/repo", 1, "push"),
        ("events.meetly.com/_/1/my_event", "events.meetly.com", "_", 1, "my_event"),
        ("community.certes.dev/github/1/push", "community.certes.dev", "github", 1, "push"),
        ("events.meetly.com/shop/1/payment", "events.meetly.com", "shop", 1, "payment"),
        ("events.meetly.com/shop/1/_version", "events.meetly.com", "shop", 1, "_version"),
        ("localhost:9600/_/0/x", "localhost:9600", "_", 0, "x"),
        ("a.dev/1/2/3", "a.dev", "1", 2, "3"),
    ],
)
def test_a_uri_is_read_from_the_right(text: str, domain: str, namespace: str, version: int, event: str) -> None:
    assert EventUri.parse(text) == EventUri(domain, namespace, version, event)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write domain/namespace/version/event"),
        ("a.dev/1/push", "write domain/namespace/version/event"),
        ("A.dev/_/1/push", "'A.dev' is no domain"),
        ("/_/1/push", "'' is no domain"),
        ("a..dev/_/1/push", "'a..dev' is no domain"),
        ("a.-b.dev/_/1/push", "'a.-b.dev' is no domain"),
        ("a.dev./_/1/push", "'a.dev.' is no domain"),
        ("a_b.dev/_/1/push", "'a_b.dev' is no domain"),
        ("a.dev:999999/_/1/push", "'a.dev:999999' is no domain"),
        ("https://a.dev/_/1/push", "'https:' is no domain"),
        ("a.dev//1/push", "'' is no name"),
        ("a.dev/../1/push", "'..' is no name"),
        ("a.dev/_/1/", "'' is no name"),
        ("a.dev/_/1/push ", "'push ' is no name"),
        ("a.dev/_/1/push\n", "is no name"),
        ("a.dev/_/1/*", "'*' is no name"),
        ("a.dev/_/v1/push", "not 'v1'"),
        ("a.dev/_/01/push", "not '01'"),
        ("a.dev/_/-1/push", "not '-1'"),
        ("a.dev/_/1.0/push", "not '1.0'"),
        ("a.dev/_/٣/push", "not '٣'"),
        ("a.dev/_/1/" + "x" * MAX_LENGTH, f"at most {MAX_LENGTH} characters"),
    ],
)
def test_what_is_no_uri_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UriError) as refused:
        EventUri.parse(text)
    assert reason in str(refused.value)


def test_a_namespace_nests_128_deep_and_no_deeper() -> None:
    deepest = "/".join("n" * MAX_NESTING)
    assert MAX_NESTING == 128
    assert EventUri.parse(f"a.dev/{deepest}/1/x").namespace == deepest
    with pytest.raises(UriError, match="at most 128 deep, this one 129"):
        EventUri.parse(f"a.dev/{deepest}/n/1/x")


@given(URIS)
def test_what_is_printed_reads_back(uri: EventUri) -> None:
    assert EventUri.parse(str(uri)) == uri


@given(st.text() | NEARLY)
def test_any_text_is_a_uri_or_refused_with_a_reason(text: str) -> None:
    for parse in (EventUri.parse, UriPattern.parse):
        assert outcome(parse, text) == text or len(outcome(parse, text)) > len(REFUSED)


@pytest.mark.parametrize(
    ("pattern", "uri", "matches"),
    [
        ("community.certes.dev/github/1/*", "community.certes.dev/github/1/push", True),
        ("community.certes.dev/github/1/*", "community.certes.dev/github/2/push", False),
        ("community.certes.dev/github/1/*", "community.certes.dev/github/repo/1/push", False),
        ("community.certes.dev/github/*", "community.certes.dev/github/repo/1/push", True),
        ("community.certes.dev/github/*", "community.certes.dev/githubber/1/push", False),
        ("community.certes.dev/*", "community.certes.dev/_/1/x", True),
        ("community.certes.dev/*", "community.certes.dev.evil.com/_/1/x", False),
        ("a.dev/_/1/x", "a.dev/_/1/x", True),
        ("a.dev/_/1/x", "a.dev/_/1/xy", False),
    ],
)
def test_patterns_match_all_below_them(pattern: str, uri: str, matches: bool) -> None:
    parsed = UriPattern.parse(pattern)
    assert (parsed.matches(EventUri.parse(uri)), str(parsed)) == (matches, pattern)


@pytest.mark.parametrize("text", ["*", "/*", "a.dev/_/1/x*", "a.dev/*/1/x", "a.dev//*", "A/*", "a.dev/**", "a.dev"])
def test_other_patterns_are_refused(text: str) -> None:
    with pytest.raises(UriError):
        UriPattern.parse(text)


def test_a_pattern_is_no_longer_than_a_uri() -> None:
    with pytest.raises(UriError, match="at most 2048 characters, this one 2998"):
        UriPattern.parse(f"a.dev/{'x' * 2990}/*")


@given(URIS, st.integers(1, 7))
def test_each_prefix_of_a_uri_is_a_pattern_that_matches_it(uri: EventUri, parts: int) -> None:
    prefix = "/".join(str(uri).split("/")[:-1][:parts])
    assert UriPattern.parse(f"{prefix}/*").matches(uri)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("events://events.meetly.com", "http://events.meetly.com:9600"),
        ("events://events.meetly.com/", "http://events.meetly.com:9600"),
        ("events://events.meetly.com:80", "http://events.meetly.com:80"),
        ("events://certes_gateway:65535", "http://certes_gateway:65535"),
        ("events://127.0.0.1", "http://127.0.0.1:9600"),
        ("events://[::1]", "http://[::1]:9600"),
        ("events://[2001:db8::5]:80/", "http://[2001:db8::5]:80"),
        ("http://host", "http://host"),
        ("https://host/bus/", "https://host/bus"),
    ],
)
def test_a_gateway_has_the_default_port_9600(address: str, url: str) -> None:
    assert gateway_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        *("", "host", "events://", "events:///", "events://host/path", "events://host:0", "events://host:65536"),
        *("events://host:port", "events://::1", "events://[::1", "events://user:pw@host", "events://host\n"),
        *("events://ho st", "ftp://host", "http://", "https:///path", "http:// host", "http://host/a b"),
    ],
)
def test_what_is_no_gateway_address_is_refused_with_the_way_out(address: str) -> None:
    with pytest.raises(UriError, match="no gateway address"):
        gateway_url(address)


@given(st.text() | st.text().map("events://".__add__))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    url = outcome(gateway_url, text)
    assert url.startswith(("http://", "https://")) or repr(text) in url
