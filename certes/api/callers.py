"""Who is calling: an API key, or another worker on behalf of somebody whom it has let through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from certes.access import ADMIN, Actor, authenticate, bearer, is_cluster, keys_by_hash
from certes.api.cluster import ACTOR, HOP
from certes.api.ports import Deps


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `hop`: through another worker, so that this one must answer by itself."""

    actor: Actor
    hop: bool = False


class Callers:
    """Tells callers by their bearer token. The stored keys are indexed once for each state of the configuration."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._keys: Mapping[str, Mapping[str, Any]] = {}
        self._keys_at: int | None = None

    def identify(self, request: web.Request) -> Caller:
        """Raises Unauthorized."""
        token = bearer(request.headers.get("authorization"))
        settings = self._deps.settings
        if is_cluster(token, settings.cluster_key):
            name = unquote(request.headers.get(ACTOR, "cluster"))
            return Caller(Actor(name, ADMIN), hop=HOP in request.headers)
        admin_key = settings.admin.key.get_secret_value()
        now = self._deps.clock.now()
        return Caller(authenticate(token, admin_key=admin_key, keys=self._stored(), now=now))

    def _stored(self) -> Mapping[str, Mapping[str, Any]]:
        config = self._deps.config_log.config
        if self._keys_at != config.offset:
            self._keys, self._keys_at = keys_by_hash(config), config.offset
        return self._keys
