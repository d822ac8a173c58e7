"""Finds schemas in the registry: whose subject an id belongs to, and which event URI that subject stands for.

The subject is the record's full name, wherever a producer may have registered the schema as well. Its URI is the one
in the newest version that has any.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from certes.errors import Invalid, NotFound
from certes.registry.client import Registered, RegistryClient
from certes.registry.schema import Schema, read
from certes.registry.subjects import full_name, subject_of, uri_in
from certes.uri import EventUri

logger = logging.getLogger(__name__)

#: Requests at a time while listing.
PARALLEL = 8


class Lookup:
    """Schemas as they stand in the registry now; nothing is kept."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def by_id(self, schema_id: int) -> Schema:
        """Raises NotFound, Invalid, Unavailable."""
        text = await self._client.text_of(schema_id)
        subject = full_name(read(text))
        if subject is None:
            return Schema.parse(text, schema_id=schema_id, subject="")
        uses = await self._client.uses_of(schema_id)
        uri = await self.uri_of(subject)
        return Schema.parse(text, schema_id=schema_id, subject=subject, version=uses.get(subject), uri=uri)

    async def latest(self, uri: EventUri) -> Schema:
        """The newest version of an event. Raises NotFound where the URI has no subject, or one that is not its own."""
        newest = await self._client.version(subject_of(uri))
        owner = uri_in(read(newest.text)) or await self.uri_of(newest.subject)
        if owner != uri:
            whose = f"belongs to {owner}" if owner else "has not been adopted: push a schema to its URI"
            raise NotFound(f"there is no schema for {uri}; the subject {newest.subject} {whose}")
        return _schema(newest, owner)

    async def uri_of(self, subject: str) -> EventUri | None:
        """The event URI of a subject, None while no version names one."""
        try:
            numbers = await self._client.versions(subject)
        except NotFound:
            return None
        for number in reversed(numbers):
            found = uri_in(read((await self._client.version(subject, number)).text))
            if found is not None:
                return found
        return None

    async def versions(self, uri: EventUri) -> list[Schema]:
        """All versions of an event, oldest first. Raises NotFound."""
        newest = await self.latest(uri)
        numbers = await self._client.versions(newest.subject)
        registered = [await self._client.version(newest.subject, number) for number in numbers]
        return [_schema(one, uri) for one in registered]

    async def all(self) -> list[Schema]:
        """The newest version of every subject that holds Avro, adopted or not, by subject."""
        gate = asyncio.Semaphore(PARALLEL)

        async def one(subject: str) -> Schema | None:
            async with gate:
                return await self._newest(subject)

        found = await asyncio.gather(*[one(subject) for subject in sorted(await self._client.subjects())])
        return [schema for schema in found if schema is not None]

    async def _newest(self, subject: str) -> Schema | None:
        try:
            schema = _schema(await self._client.version(subject), None)
            uri = uri_in(schema.source) or await self.uri_of(subject)
        except (NotFound, Invalid) as error:
            # Deleted meanwhile, or none of ours, such as Protobuf.
            logger.info("subject %s left out: %s", subject, error, extra={"action": "schema_list"})
            return None
        return replace(schema, uri=uri)


def _schema(registered: Registered, uri: EventUri | None) -> Schema:
    if registered.kind != "AVRO":
        raise Invalid(f"{registered.subject} is {registered.kind}; Certes reads Avro")
    return Schema.parse(
        registered.text, schema_id=registered.id, subject=registered.subject, version=registered.version, uri=uri
    )
