"""A schema becomes the next version of an event, or is refused with every reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from certes.errors import Conflict, Invalid, NotFound, Violation
from certes.registry.client import Registered, RegistryClient
from certes.registry.compatibility import incompatibilities, parse_strictly
from certes.registry.lookup import Lookup
from certes.registry.schema import parse, read
from certes.registry.subjects import subject_of, with_identity
from certes.uri import EventUri


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to. `id` is None where a dry run found that a version would be made."""

    uri: EventUri
    #: Major of the URI, then how many versions came before: `1.0`, `1.1`.
    version: str
    id: int | None
    #: False if the schema was there already.
    created: bool


async def push(client: RegistryClient, uri: EventUri, schema: dict[str, Any] | str, *, dry_run: bool = False) -> Pushed:
    """Register `schema` under `uri`, or with `dry_run` only say what would happen.

    Raises Invalid if it is no Avro record, Conflict if it is incompatible or another URI has its subject, Unavailable.
    """
    source = _checked(schema, uri)
    subject, text = subject_of(uri), orjson.dumps(source).decode()
    await _refuse_collision(client, subject, uri)
    newest = await _newest(client, subject)
    if newest is not None:
        same = newest if read(newest.text) == source else await _existing(client, subject, text)
        if same is not None:
            return Pushed(uri, _release(uri, same.version), same.id, created=False)
        await _refuse_break(client, newest, source, uri)
    if dry_run:
        return Pushed(uri, _release(uri, newest.version + 1 if newest else 1), None, created=True)
    return await _register(client, subject, text, uri)


def _checked(schema: dict[str, Any] | str, uri: EventUri) -> dict[str, Any]:
    try:
        source = read(schema if isinstance(schema, str) else orjson.dumps(schema))
    except TypeError as error:
        raise Invalid(f"the schema is not JSON: {error}") from error
    if not isinstance(source, dict):
        raise Invalid("the schema of an event is a record with a name")
    # As it came first, so that its faults are told in the names its author knows.
    parse_strictly(source)
    identified = with_identity(source, uri)
    parse_strictly(identified)
    parse(identified, strict=True)  # the reference implementation does not look at defaults
    return identified


async def _refuse_collision(client: RegistryClient, subject: str, uri: EventUri) -> None:
    owner = await Lookup(client).uri_of(subject)
    if owner is not None and owner != uri:
        raise Conflict(
            f"{uri} and {owner} both have the Avro name {subject}, and {owner} was first: choose another name"
        )


async def _newest(client: RegistryClient, subject: str) -> Registered | None:
    try:
        return await client.version(subject)
    except NotFound:
        return None


async def _existing(client: RegistryClient, subject: str, text: str) -> Registered | None:
    try:
        return await client.lookup(subject, text)
    except NotFound:
        return None


async def _refuse_break(client: RegistryClient, newest: Registered, source: dict[str, Any], uri: EventUri) -> None:
    """Our own rule first, since its reasons have paths; then the registry's, which may be configured to be stricter."""
    reasons = incompatibilities(parse_strictly(source), parse_strictly(read(newest.text)))
    if reasons:
        raise Conflict(_advice(uri), reasons)
    refused = await client.check(newest.subject, orjson.dumps(source).decode())
    if refused is not None:
        raise Conflict(_advice(uri), refused or (Violation("$", "the registry calls it incompatible"),))


async def _register(client: RegistryClient, subject: str, text: str, uri: EventUri) -> Pushed:
    try:
        schema_id = await client.register(subject, text)
    except Conflict as error:
        raise Conflict(_advice(uri), error.errors) from error
    version = (await client.lookup(subject, text)).version
    return Pushed(uri, _release(uri, version), schema_id, created=True)


def _release(uri: EventUri, version: int) -> str:
    return f"{uri.version}.{version - 1}"


def _advice(uri: EventUri) -> str:
    following = EventUri(uri.domain, uri.namespace, uri.version + 1, uri.event)
    return f"the schema is incompatible with the newest version of {uri}: publish it as the next major, {following}"
