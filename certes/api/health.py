"""`/healthz` and `/readyz`: for whoever watches the process; they answer during recovery too."""

from __future__ import annotations

from aiohttp import web

from certes.api.view import DEPS, answer


async def healthz(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's signature
    return answer({"ok": True})


async def readyz(request: web.Request) -> web.Response:
    status = request.app[DEPS].status()
    ok = status.ready and not status.unavailable
    document = {"ok": ok, "components_unavailable": list(status.unavailable)}
    if not status.ready:
        document["recovery"] = dict(status.recovery)
    return answer(document, status=200 if ok else 503)
