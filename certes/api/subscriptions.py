"""`/api/subscriptions`: who wants which events, and the secrets that sign what is sent."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from certes.api.entries import EntryView, merge, name_of, shown
from certes.api.paging import Item
from certes.api.view import answer, parse
from certes.backoff import DAY
from certes.clock import rfc3339
from certes.config import Entry
from certes.signing import new_secret
from certes.subscription import Secret, StoredSubscription, Subscription

_ANSWERED = ("id", "created_at", "updated_at")


def new_id() -> str:
    """`sub_` and 80 random bits in base32."""
    return "sub_" + base64.b32encode(secrets.token_bytes(10)).decode().lower()


class _SubscriptionView(EntryView):
    resource = "subscriptions"
    kind = "subscription"

    @property
    def now(self) -> str:
        return rfc3339(self.deps.clock.now())

    def create(self, identifier: str, spec: Subscription) -> Item:
        secret = Secret(secret=new_secret(), created_at=self.now)
        return _dump(
            StoredSubscription(id=identifier, created_at=self.now, updated_at=self.now, secrets=(secret,), spec=spec)
        )

    def updated(self, entry: Entry, **changes: Any) -> Item:
        return _dump(_stored(entry).model_copy(update={"updated_at": self.now, **changes}))


class SubscriptionList(_SubscriptionView):
    async def get(self) -> web.Response:
        return self.listed(map(_public, self.entries.values()), "created_at", "id")

    async def post(self) -> web.Response:
        spec = parse(Subscription, await self.document())
        identifier = new_id()
        written = await self.change(identifier, lambda _: self.create(identifier, spec))
        response = self.written(written, _public)
        response.headers["location"] = f"/api/subscriptions/{identifier}"
        return response


class OneSubscription(_SubscriptionView):
    @property
    def id(self) -> str:
        return self.request.match_info["id"]

    async def get(self) -> web.Response:
        entry = self.present(self.id)
        return shown(entry, _public(entry))

    async def put(self) -> web.Response:
        """Create or replace; what is replaced keeps its secrets."""
        identifier = name_of(self.id, "subscription")
        spec = parse(Subscription, await self.document(), ignore=_ANSWERED)

        def put(entry: Entry | None) -> Item:
            return self.create(identifier, spec) if entry is None else self.updated(entry, spec=spec)

        return self.written(await self.change(identifier, put), _public)

    async def patch(self) -> web.Response:
        """A JSON merge patch (RFC 7396): null puts a field back to its default."""
        patch = await self.document()

        def patched(entry: Entry | None) -> Item:
            entry = self.require(entry, self.id)
            spec = _stored(entry).spec.model_dump(mode="json", exclude_defaults=True)
            return self.updated(entry, spec=parse(Subscription, merge(spec, patch), ignore=_ANSWERED))

        return self.written(await self.change(self.id, patched), _public)

    async def delete(self) -> web.Response:
        return await self.remove(self.id)


class SecretsView(_SubscriptionView):
    """Secrets are for who may change the subscription: with them, anybody could sign as this Certes."""

    @classmethod
    def role(cls, method: str) -> str:  # noqa: ARG003 - the same for each
        return "subscriptions:write"

    def shown(self, entry: Entry) -> Item:
        valid = [one for one in _stored(entry).secrets if one.valid(self.deps.clock.now())]
        return {"secrets": [one.model_dump() for one in reversed(valid)]}


class Secrets(SecretsView):
    async def get(self) -> web.Response:
        return answer(self.shown(self.present(self.request.match_info["id"])))


class Rotation(BaseModel):
    """A new secret signs at once, the old ones sign beside it for `grace_seconds`."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[float, Field(ge=0, le=365 * DAY, allow_inf_nan=False)] = DAY


class Rotate(SecretsView):
    async def post(self) -> web.Response:
        identifier = self.request.match_info["id"]
        grace = parse(Rotation, await self.document()).grace_seconds

        def rotated(entry: Entry | None) -> Item:
            entry = self.require(entry, identifier)
            return self.updated(entry, secrets=self._rotated(_stored(entry).secrets, grace))

        return self.written(await self.change(identifier, rotated), self.shown)

    def _rotated(self, before: tuple[Secret, ...], grace: float) -> tuple[Secret, ...]:
        now = self.deps.clock.now()
        end = rfc3339(now + grace)
        ending = (
            one.model_copy(update={"expires_at": min(one.expires_at or end, end)}) for one in before if one.valid(now)
        )
        kept = tuple(one for one in ending if one.valid(now))
        return (*kept, Secret(secret=new_secret(), created_at=self.now))


def _stored(entry: Entry) -> StoredSubscription:
    return StoredSubscription.model_validate(entry.value)


def _public(entry: Entry) -> Item:
    return _stored(entry).public()


def _dump(stored: StoredSubscription) -> Item:
    return stored.model_dump(mode="json")
