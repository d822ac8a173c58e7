"""Who publishes: an API key with the role, or a source whose secret has signed the call (Standard Webhooks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from certes.access import authenticate, bearer, keys_by_hash
from certes.clock import Clock
from certes.config import Config
from certes.errors import Unauthorized
from certes.gateway import verifiers
from certes.gateway.submission import Headers

ROLE = "events:write"


class Publishers:
    """Answers the verified source of a call. `config` is the configuration of the moment."""

    def __init__(self, *, config: Callable[[], Config], admin_key: str, clock: Clock) -> None:
        self._config = config
        self._admin_key = admin_key
        self._clock = clock
        self._keys: Mapping[str, Mapping[str, Any]] = {}
        self._keys_as_of: int | None = None

    def by_key(self, headers: Headers) -> str | None:
        """The name of the API key, None for a call that is signed instead; it needs no body, so it comes first.

        Raises Unauthorized, Forbidden.
        """
        if "authorization" not in headers and "webhook-signature" in headers:
            return None
        token = bearer(headers.get("authorization"))
        actor = authenticate(token, admin_key=self._admin_key, keys=self._known(), now=self._clock.now())
        actor.require(ROLE)
        return actor.name

    def by_signature(self, headers: Headers, body: bytes) -> str:
        """The source that signed the call: the one that `ce-source` names, else any whose secret fits.

        Raises Unauthorized.
        """
        sources = {name: one for name, one in self._config().sources.items() if one.scheme == "standard"}
        named = headers.get("ce-source", "")
        candidates = {named: sources[named]} if named in sources else sources
        reason = Unauthorized("no source has the scheme standard, so no signature can be verified")
        for name, source in candidates.items():
            try:
                verifiers.verify(source, headers, body, now=self._clock.now())
            except Unauthorized as error:
                reason = error
            else:
                return name
        raise reason

    def _known(self) -> Mapping[str, Mapping[str, Any]]:
        config = self._config()
        if self._keys_as_of != config.offset:
            self._keys, self._keys_as_of = keys_by_hash(config), config.offset
        return self._keys
