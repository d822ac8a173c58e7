"""`/api/sources`: configured senders. Their secrets come in and are never shown again."""

from __future__ import annotations

from aiohttp import web

from certes.api.entries import EntryView, name_of, shown
from certes.api.paging import Item
from certes.api.view import parse
from certes.config import Entry
from certes.errors import Invalid
from certes.records import KAFKA_SOURCE
from certes.source import Source

MASK = "********"


class _SourceView(EntryView):
    resource = "config"
    kind = "source"


class SourceList(_SourceView):
    async def get(self) -> web.Response:
        return self.listed(map(public, self.entries.values()), "name")


class OneSource(_SourceView):
    @property
    def name(self) -> str:
        return self.request.match_info["name"]

    async def get(self) -> web.Response:
        entry = self.present(self.name)
        return shown(entry, public(entry))

    async def put(self) -> web.Response:
        name = name_of(self.name, "source")
        if name == KAFKA_SOURCE:
            raise Invalid(f"{KAFKA_SOURCE} is the source of events that come straight over Kafka: choose another name")
        source = parse(Source, await self.document(), ignore=("name",))
        written = await self.change(name, lambda entry: _unmasked(source, entry))
        return self.written(written, public)

    async def delete(self) -> web.Response:
        return await self.remove(self.name)


def public(entry: Entry) -> Item:
    return {"name": entry.name, **entry.value, "secrets": [MASK] * len(entry.value.get("secrets", ()))}


def _unmasked(source: Source, entry: Entry | None) -> Item:
    """What was shown masked and comes back is meant to stay as it is. Raises Invalid."""
    before = () if entry is None else entry.value.get("secrets", ())
    if MASK in source.secrets[len(before) :]:
        raise Invalid(f"{MASK} stands for a secret that is stored already: give the new one in full")
    secrets = [before[i] if secret == MASK else secret for i, secret in enumerate(source.secrets)]
    return {**source.model_dump(mode="json"), "secrets": secrets}
