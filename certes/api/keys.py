"""`/api/keys`: API keys. A key is shown once, when it is made; only its hash is kept."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from certes.access import KEY_PREFIX, ROLES, key_hash, new_key
from certes.api.entries import EntryView, shown
from certes.api.paging import Item
from certes.api.view import parse
from certes.clock import rfc3339
from certes.config import Entry
from certes.errors import Forbidden, Invalid


def _is_role(text: str) -> str:
    if text not in ROLES:
        raise ValueError(f"is no role: there are {', '.join(ROLES)}")
    return text


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    roles: Annotated[tuple[Annotated[str, AfterValidator(_is_role)], ...], Field(min_length=1)]
    expires_at: AwareDatetime | None = None


class _KeyView(EntryView):
    resource = "access"
    kind = "key"


class KeyList(_KeyView):
    async def get(self) -> web.Response:
        return self.listed(map(public, self.entries.values()), "created_at", "id")

    async def post(self) -> web.Response:
        wanted = parse(NewKey, await self.document())
        self._may_grant(wanted)
        key = new_key()
        value = self._value(wanted, key)
        written = await self.change(value["id"], lambda _: value)
        return self.written(written, lambda entry: {**public(entry), "key": key})

    def _may_grant(self, wanted: NewKey) -> None:
        """Nobody gives what they do not have; or `access:write` would be as much as `admin`."""
        lacking = sorted(role for role in wanted.roles if not self.caller.actor.may(role))
        if lacking:
            raise Forbidden(f"{self.caller.actor.name} cannot give roles it lacks: {', '.join(lacking)}")

    def _value(self, wanted: NewKey, key: str) -> Item:
        now = self.deps.clock.now()
        if wanted.expires_at is not None and wanted.expires_at.timestamp() <= now:
            raise Invalid("expires_at must be in the future")
        return {
            "id": KEY_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode().lower(),
            "name": wanted.name,
            "hash": key_hash(key),
            "roles": sorted(set(wanted.roles)),
            "created_at": rfc3339(now),
            "expires_at": None if wanted.expires_at is None else rfc3339(wanted.expires_at.timestamp()),
        }


class OneKey(_KeyView):
    async def get(self) -> web.Response:
        entry = self.present(self.request.match_info["id"])
        return shown(entry, public(entry))

    async def delete(self) -> web.Response:
        return await self.remove(self.request.match_info["id"])


def public(entry: Entry) -> Item:
    return {name: value for name, value in entry.value.items() if name != "hash"}
