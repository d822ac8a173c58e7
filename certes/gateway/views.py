"""The requests of the gateway: each view reads, calls one operation and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from certes.clock import Clock
from certes.config import Config
from certes.errors import NotFound, TooLarge, Unavailable, Unsupported
from certes.gateway import cloudevents, template, verifiers
from certes.gateway.intake import Intake, parse_json
from certes.gateway.lag import Lag
from certes.gateway.publishers import Publishers
from certes.gateway.submission import (
    Headers,
    Submission,
    attributes_of,
    checked,
    malformed,
    media_type,
    submission,
)
from certes.records import JSON
from certes.source import Source
from certes.uri import EventUri

#: A batch may be this many times as large as a single event.
BATCH_FACTOR = 16


class Views:
    """Publishing and health. `ready` answers which components are there, by name, each when it is asked."""

    def __init__(
        self,
        *,
        intake: Intake,
        publishers: Publishers,
        lag: Lag,
        config: Callable[[], Config],
        clock: Clock,
        max_body_bytes: int,
        ready: Mapping[str, Callable[[], Awaitable[bool]]],
    ) -> None:
        self._intake = intake
        self._publishers = publishers
        self._lag = lag
        self._config = config
        self._clock = clock
        self._max_body = max_body_bytes
        self._ready = ready
        #: Why nothing is taken at the moment: the gateway is starting or stopping.
        self.closed: str | None = "the gateway is starting"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.post("/events/from/{source}", self.webhook),
            web.post("/events/{uri:.+}", self.event),
            web.post("/events", self.cloudevents),
        ]

    async def event(self, request: web.Request) -> web.Response:
        """`POST /events/{event URI}`: one event, its payload the body."""
        source, body = await self._verified(request, self._max_body)
        uri = EventUri.parse(request.match_info["uri"])
        attributes = attributes_of(request.headers)
        if attributes.get("type", str(uri)) != str(uri):
            raise malformed("ce-type", f"is not {uri}, the event URI of the path")
        one = submission(
            uri,
            body,
            content_type=media_type(request.headers.get("content-type")),
            headers=request.headers,
            attributes=attributes,
        )
        return _accepted(await self._intake.publish(one, source=source))

    async def cloudevents(self, request: web.Request) -> web.Response:
        """`POST /events`: the CloudEvents HTTP binding."""
        mode = cloudevents.mode_of(request.headers)
        batch = mode == cloudevents.BATCH
        source, body = await self._verified(request, self._max_body * (BATCH_FACTOR if batch else 1))
        if batch:
            events = cloudevents.batch(request.headers, body)
            for one in events:
                self._limit(len(one.value), self._max_body, one.where)
            return _accepted(await self._intake.publish_all(events, source=source))
        read = cloudevents.structured if mode else cloudevents.binary
        return _accepted(await self._intake.publish(read(request.headers, body), source=source))

    async def webhook(self, request: web.Request) -> web.Response:
        """`POST /events/from/{source}`: a third party's call, as its source is configured."""
        self._open()
        name = request.match_info["source"]
        source = self._config().sources.get(name)
        if source is None:
            raise NotFound(f"there is no source {name[:100]!r}")
        body = await self._body(request, self._max_body)
        verifiers.verify(source, request.headers, body, now=self._clock.now())
        one = _of_third_party(source, request.headers, body)
        return _accepted(await self._intake.publish_foreign(one, source=name))

    async def healthz(self, _request: web.Request) -> web.Response:
        return _json(200, {"ok": True})

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 when everything is there, else 503 with the names of what is not."""
        there = await asyncio.gather(*[ask() for ask in self._ready.values()])
        missing = [name for name, is_there in zip(self._ready, there, strict=True) if not is_there]
        return _json(503 if missing else 200, {"ok": not missing, "components_unavailable": missing})

    async def _verified(self, request: web.Request, limit: int) -> tuple[str, bytes]:
        """The publisher's verified source, and the body. Raises Unauthorized, Forbidden, TooLarge, Unavailable."""
        self._open()
        source = self._publishers.by_key(request.headers)
        body = await self._body(request, limit)
        return source or self._publishers.by_signature(request.headers, body), body

    def _open(self) -> None:
        if self.closed is not None:
            raise Unavailable(self.closed, retry_after=2)
        self._lag.refuse_if_behind()

    async def _body(self, request: web.Request, limit: int) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            # A signature is over the bytes as they came, and a small body must not become a large one.
            raise Unsupported(f"the body is encoded as {encoding[:32]!r}; send it as it is")
        self._limit(request.content_length or 0, limit, "the body")
        body = await request.read()
        self._limit(len(body), limit, "the body")
        return body

    @staticmethod
    def _limit(size: int, limit: int, what: str) -> None:
        if size > limit:
            raise TooLarge(f"{what} has {size} bytes, at most {limit} are taken")


def _of_third_party(source: Source, headers: Headers, body: bytes) -> Submission:
    if media_type(headers.get("content-type")) != JSON:
        raise Unsupported(f"a third party's event is {JSON}; set this content type where its webhooks are configured")
    document = parse_json(body)
    given = verifiers.given_id(source, headers)
    return submission(
        template.event_uri(source.uri, headers, lambda: document),
        body,
        content_type=JSON,
        headers=headers,
        attributes={} if given is None else {"id": checked(given, "the id of the call")},
    )


def _accepted(receipt: Any) -> web.Response:
    return _json(202, receipt)


def _json(status: int, document: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type=JSON)
