from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from certes.errors import Malformed, Refused, Unsupported
from certes.gateway.submission import attributes_of, idempotency_key, media_type, submission
from certes.uri import EventUri

URI = EventUri.parse("a.dev/_/1/x")


def headers(**given_ones: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): text for name, text in given_ones.items()}))


def test_attributes_are_decoded_as_the_binding_says() -> None:
    found = attributes_of(headers(CE_Subject="Gr%C3%BC%C3%9Fe", ce_quoted='"a \\"b\\" %25"', ce_plain="ü", other="x"))
    assert found == {"subject": "Grüße", "quoted": 'a "b" %', "plain": "ü"}


@pytest.mark.parametrize("name", ["ce-", "ce-a-b", "ce-a_b", "ce-ä"])
def test_headers_that_are_no_attributes_are_left_alone(name: str) -> None:
    assert attributes_of(CIMultiDictProxy(CIMultiDict({name: "x"}))) == {}


def test_media_types() -> None:
    kinds = [None, "", "application/json", "Application/JSON; charset=UTF-8", "application/x.y+json"]
    assert {media_type(kind) for kind in kinds} == {"application/json"}
    assert {media_type(kind) for kind in ("application/avro", "avro/binary")} == {"application/avro"}
    for kind in ("text/json", "application/json; charset=utf-16", "application/xml", ";"):
        with pytest.raises(Unsupported):
            media_type(kind)


def test_the_publishers_id_in_order_of_precedence() -> None:
    both = headers(idempotency_key='"k"', webhook_id="w")
    assert idempotency_key(both) == "k"
    assert idempotency_key(headers(webhook_id="w")) == "w"
    assert idempotency_key(headers()) is None
    made = submission(URI, b"", content_type="application/json", headers=both, attributes={"id": "i"})
    assert made.given == "i"


def test_too_many_attributes() -> None:
    many = {f"a{number}": "x" for number in range(65)}
    with pytest.raises(Malformed, match="64"):
        submission(URI, b"", content_type="application/json", headers=headers(), attributes=many)


@given(
    st.dictionaries(
        st.sampled_from(["ce-id", "ce-time", "ce-subject", "traceparent", "certes-trace"]), st.binary(max_size=40)
    )
)
def test_any_headers_give_a_submission_whose_texts_can_be_kept_or_a_refusal(raw: dict[str, bytes]) -> None:
    texts = {name: value.decode("utf-8", "surrogateescape") for name, value in raw.items()}
    given_ones = CIMultiDictProxy(CIMultiDict(texts))
    try:
        made = submission(
            URI, b"", content_type="application/json", headers=given_ones, attributes=attributes_of(given_ones)
        )
    except Refused:
        return
    for text in (made.given, made.traceparent, *made.attributes.values(), *made.trace):
        assert text is None or text.encode()
