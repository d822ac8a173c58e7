"""The other workers: whose partition it is answers; lists are merged from all; nobody asks a third."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from certes.access import cluster_token
from certes.api.paging import Item
from certes.api.ports import Deps
from certes.config import Member
from certes.errors import Unavailable

logger = logging.getLogger(__name__)

HOP = "certes-hop"
ACTOR = "certes-actor"
#: A worker that has not answered a list by then is named as missing.
ASK_SECONDS = 3.0
#: What is passed on may wait for the fold (5 s) and for the readers of the configuration (2 s).
PASS_SECONDS = 15.0
CONNECT_SECONDS = 1.0

_THERE = ("accept", "content-type", "if-match", "if-none-match")
_BACK = (
    "content-type", "content-disposition", "content-security-policy", "x-content-type-options", "etag", "location",
    "retry-after", "certes-position", "certes-unread",
)  # fmt: skip


class Cluster:
    """Asks other workers on behalf of a caller who has been authorised here."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._me = deps.settings.worker.id
        self._token = f"Bearer {cluster_token(deps.settings.cluster_key)}"

    def owner(self, partition: int) -> Member:
        """The other worker that owns a partition. Raises Unavailable while nobody does."""
        owner = self._deps.config_log.config.owner(partition)
        if owner is None or owner.id == self._me:
            raise Unavailable(f"partition {partition} of the log is changing its worker; ask again")
        return owner

    async def pass_on(self, request: web.Request, member: Member, *, actor: str) -> web.Response:
        """The worker's answer to the same request. Raises Unavailable when it gives none."""
        headers = {name: request.headers[name] for name in _THERE if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=PASS_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._deps.session.request(
                request.method,
                self._url(member, request),
                data=await request.read(),
                headers={**headers, **self._credentials(actor)},
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                back = {name: answer.headers[name] for name in _BACK if name in answer.headers}
                return web.Response(status=answer.status, body=await answer.read(), headers=back)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"worker {member.id} does not answer: {error!r}; ask again") from error

    async def ask_others(self, request: web.Request, *, actor: str, seconds: float = ASK_SECONDS) -> list[Item]:
        """The other workers' answers to the same GET; who gives none within `seconds` is left out."""
        others = [one for one in self._deps.config_log.config.workers() if one.id != self._me]
        asked = (self._ask(one, request, actor=actor, seconds=seconds) for one in others)
        return [answer for answer in await asyncio.gather(*asked) if answer is not None]

    def missing(self, covered: Iterable[int]) -> list[Item]:
        """The partitions that no answer covers, by the worker that should have: `{"worker", "partitions"}`."""
        config = self._deps.config_log.config
        groups: dict[str | None, list[int]] = {}
        for partition in sorted(set(range(self._deps.settings.log.partitions)).difference(covered)):
            owner = config.owner(partition)
            groups.setdefault(owner.id if owner else None, []).append(partition)
        return [{"worker": worker, "partitions": partitions} for worker, partitions in groups.items()]

    async def _ask(self, member: Member, request: web.Request, *, actor: str, seconds: float) -> Item | None:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        url, headers = self._url(member, request), self._credentials(actor)
        try:
            async with self._deps.session.get(url, headers=headers, timeout=timeout) as answer:
                content = orjson.loads(await answer.read()) if answer.status == web.HTTPOk.status_code else None
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            logger.warning("worker %s does not answer: %r", member.id, error, extra={"action": "ask_worker"})
            return None
        return content if isinstance(content, dict) else None

    def _credentials(self, actor: str) -> dict[str, str]:
        return {"authorization": self._token, HOP: "1", ACTOR: quote(actor)}

    @staticmethod
    def _url(member: Member, request: web.Request) -> URL:
        return URL(member.url.rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
