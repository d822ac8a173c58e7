"""`/api/priorities` and `/api/backoffs`: what counts for a scope (`global`, `source/{name}`, `event/{URI or pattern}`)."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from certes.api.entries import EntryView, name_of, shown
from certes.api.paging import Item
from certes.api.view import parse
from certes.backoff import Policy
from certes.config import Entry
from certes.errors import Invalid
from certes.subscription import Priority
from certes.uri import UriPattern


class PriorityRule(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    priority: Priority


class _RuleView(EntryView):
    resource = "backoffs"


class _RuleList(_RuleView):
    async def get(self) -> web.Response:
        return self.listed(map(_public, self.entries.values()), "scope")


class _OneRule(_RuleView):
    @property
    def scope(self) -> str:
        return scope_of(self.request.match_info["scope"])

    def value(self, document: Item) -> Item:
        """What is stored of a body. Raises Invalid."""
        raise NotImplementedError

    async def get(self) -> web.Response:
        entry = self.present(self.scope)
        return shown(entry, _public(entry))

    async def put(self) -> web.Response:
        value = self.value(await self.document())
        written = await self.change(self.scope, lambda _: value)
        return self.written(written, _public)

    async def delete(self) -> web.Response:
        return await self.remove(self.scope)


class PriorityList(_RuleList):
    kind = "priority"


class OnePriority(_OneRule):
    kind = "priority"

    def value(self, document: Item) -> Item:
        return parse(PriorityRule, document, ignore=("scope",)).model_dump()


class BackoffList(_RuleList):
    kind = "backoff"


class OneBackoff(_OneRule):
    kind = "backoff"

    def value(self, document: Item) -> Item:
        return parse(Policy, document, ignore=("scope",)).model_dump(mode="json")


def scope_of(text: str) -> str:
    """The scope as it is stored. Raises Invalid, UriError."""
    kind, _, name = text.partition("/")
    if text == "global":
        return text
    if kind == "source":
        return f"source/{name_of(name, 'source')}"
    if kind == "event":
        return f"event/{UriPattern.parse(name)}"
    raise Invalid(f"{text[:64]!r} is no scope: write global, source/NAME or event/URI, where URI may end in /*")


def _public(entry: Entry) -> dict[str, Any]:
    return {"scope": entry.name, **entry.value}
