from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.access import (
    ADMIN,
    ROLES,
    Actor,
    authenticate,
    bearer,
    cluster_token,
    is_cluster,
    key_hash,
    keys_by_hash,
    new_key,
)
from certes.clock import from_rfc3339
from certes.config import Config, encode
from certes.errors import Forbidden, Unauthorized

ANY_TEXT = st.text(st.characters())
KEY = new_key()
END = "2026-11-24T16:03:00.000Z"
NOW = from_rfc3339(END)


def who(token: str | None, *, expires_at: str | None = None, admin_key: str = "key_admin", now: float = NOW) -> Actor:
    keys = {key_hash(KEY): {"name": "shop", "roles": ["events:write"], "expires_at": expires_at}}
    return authenticate(token, admin_key=admin_key, keys=keys, now=now)


def test_the_roles_are_those_of_the_contract() -> None:
    resources = ("subscriptions", "events", "backoffs", "config", "schemas", "access")
    assert set(ROLES) == {"admin"} | {f"{one}:{right}" for one in resources for right in ("read", "write")}


def test_a_key_gives_its_name_and_roles() -> None:
    actor = who(KEY)
    assert actor == Actor("shop", frozenset({"events:write"}))
    actor.require("events:write")
    with pytest.raises(Forbidden, match="shop lacks the role events:read"):
        actor.require("events:read")


def test_the_admin_may_everything() -> None:
    actor = who("key_admin")
    assert actor == Actor("admin", ADMIN)
    assert all(actor.may(role) for role in ROLES)


@pytest.mark.parametrize(
    "token", [None, "", "key_other", "key_admin ", "KEY_ADMIN", KEY[:-1], key_hash(KEY), "\ud800", "é"]
)
def test_other_tokens_are_nobody(token: str | None) -> None:
    with pytest.raises(Unauthorized):
        who(token)


def test_without_an_admin_key_nobody_is_admin() -> None:
    for token in (None, "", "key_admin"):
        with pytest.raises(Unauthorized):
            who(token, admin_key="")


def test_a_key_ends_at_its_time() -> None:
    assert who(KEY, expires_at=END, now=NOW - 0.001).name == "shop"
    for now in (NOW, NOW + 1):
        with pytest.raises(Unauthorized, match="unknown, expired or revoked"):
            who(KEY, expires_at=END, now=now)


@given(ANY_TEXT)
def test_any_token_is_refused_and_nothing_else(token: str) -> None:
    with pytest.raises(Unauthorized):
        who(token)
    assert not is_cluster(token, b"k" * 32)


@given(ANY_TEXT, ANY_TEXT)
def test_each_key_has_a_hash_of_its_own(one: str, other: str) -> None:
    assert (key_hash(one) == key_hash(other)) == (one == other)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer key_x", "key_x"),
        ("bearer key_x", "key_x"),
        ("Bearer   key_x ", "key_x"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic key_x", None),
        ("key_x", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_of_an_authorization_header(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


def test_processes_of_one_cluster_know_each_other() -> None:
    token = cluster_token(b"k" * 32)
    assert is_cluster(token, b"k" * 32)
    assert not is_cluster(token, b"o" * 32)
    assert not is_cluster(None, b"k" * 32)
    assert "k" * 32 not in token


def test_without_a_cluster_key_nobody_is_the_cluster() -> None:
    assert not is_cluster(cluster_token(b""), b"")


def test_new_keys_are_random_and_recognisable() -> None:
    assert KEY.startswith("key_")
    assert new_key() != KEY
    assert len(KEY) > 40


def test_stored_keys_are_found_by_hash() -> None:
    config = Config()
    stored = {"hash": key_hash(KEY), "name": "shop", "roles": ["events:write"]}
    config.apply("key/key_1", encode(stored), 0)
    assert authenticate(KEY, admin_key="", keys=keys_by_hash(config), now=NOW).name == "shop"
    config.apply("key/key_1", None, 1)
    assert keys_by_hash(config) == {}
