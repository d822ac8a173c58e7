from __future__ import annotations

import base64
import json

import pytest
from aiohttp import web

from certes.errors import Conflict, Invalid, NotFound, Unavailable, Violation
from certes.registry.client import Registered, RegistryClient

PAYMENT = {"type": "record", "name": "payment", "namespace": "dev.a.v1", "fields": [{"name": "cents", "type": "long"}]}
TEXT = json.dumps(PAYMENT)
NOBODY = "http://127.0.0.1:1"


async def test_what_is_registered_can_be_read(client):
    schema_id = await client.register("dev.a.v1.payment", TEXT)
    first = Registered("dev.a.v1.payment", 1, schema_id, TEXT)
    assert await client.subjects() == ["dev.a.v1.payment"]
    assert await client.versions("dev.a.v1.payment") == [1]
    assert await client.version("dev.a.v1.payment") == await client.version("dev.a.v1.payment", 1) == first
    assert await client.lookup("dev.a.v1.payment", TEXT) == first
    assert await client.text_of(schema_id) == TEXT
    assert await client.uses_of(schema_id) == {"dev.a.v1.payment": 1}
    assert await client.check("dev.a.v1.payment", TEXT) is None


async def test_subjects_are_quoted(client, fake):
    await client.register("a/b c?d", TEXT)
    assert list(fake.subjects) == ["a/b c?d"]


async def test_what_is_missing_is_not_found(client):
    for call in (client.text_of(9), client.versions("x"), client.version("x"), client.lookup("x", TEXT)):
        with pytest.raises(NotFound):
            await call


async def test_what_is_incompatible_is_told_with_every_message(client, fake):
    fake.incompatible = ("first reason", "second reason")
    assert await client.check("x", TEXT) == (Violation("$", "first reason"), Violation("$", "second reason"))
    with pytest.raises(Conflict, match="first reason") as caught:
        await client.register("x", TEXT)
    assert caught.value.errors == (Violation("$", "first reason"),)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"error_code": 40403, "message": "m"}, NotFound),
        (409, {"error_code": 409, "message": "m"}, Conflict),
        (409, {"error_code": 40901, "message": "m"}, Conflict),
        (422, {"error_code": 42201, "message": "m"}, Invalid),
        (500, {"error_code": 50001, "message": "m"}, Unavailable),
        (429, {"error_code": 429, "message": "m"}, Unavailable),
        (401, {"error_code": 40101, "message": "m"}, Unavailable),
        (403, None, Unavailable),
        (404, None, Unavailable),
        (302, None, Unavailable),
        (200, None, Unavailable),
        (200, {"unheard": "of"}, Unavailable),
        (200, [1], Unavailable),
        (200, "text", Unavailable),
    ],
)
async def test_every_answer_has_its_error(client, fake, status, body, error):
    headers = {"Location": "/"} if status == 302 else {}
    fake.answer = web.Response(status=status, text="<html>" if body is None else json.dumps(body), headers=headers)
    with pytest.raises(error) as caught:
        await client.version("x")
    assert type(caught.value) is error


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
async def test_other_kinds_of_schema_are_invalid(client, fake, kind):
    fake.answer = web.json_response({"schema": "{}", "schemaType": kind})
    with pytest.raises(Invalid, match="reads Avro"):
        await client.text_of(1)


async def test_another_address_takes_over_and_stays(fake, fake_url, caplog):
    fake.put(PAYMENT)
    async with RegistryClient(f"{NOBODY}, {fake_url}/", timeout_seconds=2) as client:
        assert await client.subjects() == ["dev.a.v1.payment"]
        assert len(caplog.records) == 1
        assert await client.subjects() == ["dev.a.v1.payment"]
        assert len(caplog.records) == 1


async def test_a_failing_server_is_passed_over_but_a_refusal_is_an_answer(fake, fake_url):
    fake.down = True
    async with RegistryClient(f"{fake_url},{NOBODY}") as client:
        with pytest.raises(Unavailable, match=r"503.*127\.0\.0\.1:1"):
            await client.subjects()
        fake.down = False
        with pytest.raises(NotFound):
            await client.version("x")


async def test_secrets_are_sent_but_not_shown(fake_url, fake):
    async with RegistryClient(fake_url, username="me", password="pä") as client:
        await client.subjects()
    async with RegistryClient(fake_url, token="t0ken") as client:
        await client.subjects()
    basic = base64.b64encode("me:pä".encode()).decode()
    assert [headers["Authorization"] for headers in fake.headers] == [f"Basic {basic}", "Bearer t0ken"]
    async with RegistryClient("http://me:secret@127.0.0.1:1") as client:
        with pytest.raises(Unavailable) as caught:
            await client.subjects()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("urls", ["", " , "])
def test_no_address_is_refused(urls):
    with pytest.raises(ValueError, match="at least one"):
        RegistryClient(urls)
