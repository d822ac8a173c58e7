from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from certes.source import Hmac, Source

URI = "community.certes.dev/github/1/{header:x-github-event}"


def test_the_defaults_are_those_of_the_contract() -> None:
    assert Source(scheme="github", uri=URI).model_dump(mode="json") == {
        "scheme": "github",
        "secrets": [],
        "uri": URI,
        "id_header": None,
        "hmac": None,
        "schemas": "optional",
        "description": "",
    }


def test_a_generic_scheme_signs_the_body_in_hex_unless_told_otherwise() -> None:
    assert Hmac(header="x-signature").model_dump(exclude={"header"}) == {
        "algorithm": "sha256",
        "encoding": "hex",
        "secret_encoding": "utf8",
        "prefix": "",
        "delimiter": "",
        "id_header": None,
        "timestamp_header": None,
        "tolerance_seconds": 300.0,
        "signed": "{body}",
    }


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"scheme": "md5"}, ("scheme",)),
        ({"scheme": None}, ("scheme",)),
        ({"secrets": [""]}, ("secrets", 0)),
        ({"secrets": ["x" * 5000]}, ("secrets", 0)),
        ({"uri": "x" * 2049}, ("uri",)),
        ({"schemas": "maybe"}, ("schemas",)),
        ({"hmac": {"header": "x", "algorithm": "md5"}}, ("hmac", "algorithm")),
        ({"hmac": {}}, ("hmac", "header")),
        ({"secret": "x"}, ("secret",)),
    ],
)
def test_a_source_that_cannot_work_is_refused(fields: dict[str, Any], where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        Source.model_validate({"scheme": "github", "uri": URI, **fields})
    assert refused.value.errors()[0]["loc"] == where


def test_secrets_do_not_print() -> None:
    source = Source(scheme="github", uri=URI, secrets=("topsecret",))
    assert "topsecret" not in repr(source) + str(source)
    assert Source.model_validate(source.model_dump(mode="json")) == source
