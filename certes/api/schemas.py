"""`/api/schemas`: the schema registry by event URIs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from certes.api.paging import Item, Paging
from certes.api.view import ApiView, answer, parse
from certes.errors import Malformed, NotFound
from certes.registry.schema import Schema
from certes.uri import EventUri

_VERSION = re.compile(r"([0-9]{1,9}\.)?[0-9]{1,9}\Z", re.ASCII)


class NewSchema(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: dict[str, Any] | str

    @classmethod
    def of(cls, document: Item) -> NewSchema:
        """Raises Invalid."""
        # pydantic keeps the name `schema` for itself.
        return parse(cls, {"schema_" if name == "schema" else name: value for name, value in document.items()})


class _SchemaView(ApiView):
    resource = "schemas"


class SchemaList(_SchemaView):
    async def get(self) -> web.Response:
        """The newest version of each event; subjects that no event URI has been given to have `uri: null`."""
        paging = Paging.of(self.request.query, (str,))
        found = [_public(schema) for schema in await self.deps.registry.list()]
        return answer(paging.page(found, lambda item: (item["subject"],)))


class OneSchema(_SchemaView):
    @property
    def uri(self) -> EventUri:
        return EventUri.parse(self.request.match_info["uri"])

    async def get(self) -> web.Response:
        wanted, uri = self.request.query, self.uri
        if wanted.get("versions") == "all":
            versions = await self.deps.registry.versions(uri)
            return answer({"items": [_public(one) for one in versions], "next": None})
        if "version" in wanted:
            return answer(_public(_chosen(uri, wanted["version"], await self.deps.registry.versions(uri))))
        return answer(_public(await self.deps.registry.latest(uri)))

    async def post(self) -> web.Response:
        uri, dry_run = self.uri, _flag(self.request.query.get("dry_run", "false"))
        schema = NewSchema.of(await self.document()).schema_
        pushed = await self.deps.registry.push(uri, schema, dry_run=dry_run)
        document = {"uri": str(pushed.uri), "version": pushed.version, "id": pushed.id, "created": pushed.created}
        return answer(document, status=200 if dry_run else 201)


def _chosen(uri: EventUri, text: str, versions: Iterable[Schema]) -> Schema:
    """`1.0`, or the number the registry gives it. Raises Malformed, NotFound."""
    if not _VERSION.match(text):
        raise Malformed("version must be such as 1.0, or the registry's number")
    for one in versions:
        if text in (one.release, str(one.version)):
            return one
    raise NotFound(f"there is no version {text} of {uri}")


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise Malformed("dry_run must be true or false")
    return text.lower() in ("true", "1")


def _public(schema: Schema) -> Item:
    return {
        "uri": None if schema.uri is None else str(schema.uri),
        "subject": schema.subject,
        "version": schema.release,
        "number": schema.version,
        "id": schema.id,
        "schema": schema.source,
    }
