"""Passing on to a worker what is not the gateway's own: the Master API and the management page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, ClientTimeout, web
from multidict import CIMultiDict
from yarl import URL

from certes.config import Member
from certes.errors import NotFound, Unavailable

logger = logging.getLogger(__name__)

TIMEOUT = ClientTimeout(total=None, sock_connect=2.0, sock_read=120.0)
#: Never passed on: what workers tell each other and who runs them.
PRIVATE = ("internal", "metrics")

_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class Passing:
    """Hands requests to a live worker, bodies as streams. `workers` answers them, the best one first."""

    def __init__(self, workers: Callable[[], Sequence[Member]]) -> None:
        self._workers = workers
        self._session: ClientSession | None = None

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Raises NotFound for what is private or not here, Unavailable when no worker answers."""
        first = request.path.lstrip("/").partition("/")[0]
        if first in PRIVATE:
            raise NotFound(f"there is no {request.path[:200]} here")
        if first == "events":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        for worker in self._workers():
            try:
                answer = await self._ask(request, worker)
            except ClientConnectorError as error:
                logger.warning("worker %s cannot be reached: %s", worker.id, error, extra={"action": "pass_on"})
                continue
            except (ClientError, OSError, TimeoutError) as error:
                # It may have been done; only the caller can know whether to do it again.
                raise Unavailable(f"worker {worker.id} has not answered: {type(error).__name__}") from error
            return await _relay(request, answer)
        raise Unavailable("no worker answers", retry_after=2)

    async def _ask(self, request: web.Request, worker: Member) -> ClientResponse:
        if self._session is None:
            self._session = ClientSession(timeout=TIMEOUT, auto_decompress=False)
        return await self._session.request(
            request.method,
            URL(worker.url.rstrip("/") + request.rel_url.raw_path_qs, encoded=True),
            headers=_forwarded(request),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )


def _forwarded(request: web.Request) -> CIMultiDict[str]:
    headers = _end_to_end(request.headers.items(), request.headers.getall("connection", []))
    if headers.popall("Content-Encoding", None):
        # aiohttp has decoded the body already.
        headers.popall("Content-Length", None)
    before = headers.popall("X-Forwarded-For", [])
    headers["X-Forwarded-For"] = ", ".join([*before, request.remote or "unknown"])
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    headers.setdefault("X-Forwarded-Host", request.host)
    return headers


def _end_to_end(headers: Iterable[tuple[str, str]], connection: Iterable[str]) -> CIMultiDict[str]:
    """Without the headers that are for one connection only, nor those that `Connection` names as such."""
    named = {name.strip().lower() for value in connection for name in value.split(",")}
    kept = ((name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named)
    return CIMultiDict(kept)


async def _relay(request: web.Request, answer: ClientResponse) -> web.StreamResponse:
    async with answer:
        headers = _end_to_end(answer.headers.items(), answer.headers.getall("connection", []))
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(request)
        if request.method != "HEAD":
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        await response.write_eof()
    return response
