"""What workers and gateways ask each other, outside the Master API: how far somebody has read the configuration, and
how far the fold is behind. Each of them mounts these routes on a listener that is not for the internet.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from certes.access import bearer, is_cluster
from certes.config import ConfigLog
from certes.errors import Malformed, Unauthorized

CONFIG_PATH = "/internal/config"
LAG_PATH = "/internal/lag"
MAX_WAIT_SECONDS = 10.0


def internal_routes(
    config_log: ConfigLog, cluster_key: bytes, lag: Callable[[], float] | None = None
) -> list[web.RouteDef]:
    """`GET /internal/config?offset=&seconds=`: waits until the entry at `offset` has been read, answers
    `{"reached", "offset"}`. With `lag`, `GET /internal/lag`: `{"lag_seconds"}`, how far the fold is behind the log.

    Both want the cluster token as bearer; errors are raised as CertesError.
    """

    async def config(request: web.Request) -> web.Response:
        _require_cluster(request, cluster_key)
        offset, seconds = _number(request, "offset", -1), _number(request, "seconds", 2.0)
        reached = await config_log.reached(int(offset), seconds=min(max(seconds, 0.0), MAX_WAIT_SECONDS))
        return web.json_response({"reached": reached, "offset": config_log.config.offset})

    async def lag_seconds(request: web.Request) -> web.Response:
        _require_cluster(request, cluster_key)
        return web.json_response({"lag_seconds": lag() if lag is not None else 0.0})

    routes = [web.get(CONFIG_PATH, config)]
    return [*routes, web.get(LAG_PATH, lag_seconds)] if lag is not None else routes


def _require_cluster(request: web.Request, cluster_key: bytes) -> None:
    if not is_cluster(bearer(request.headers.get("authorization")), cluster_key):
        raise Unauthorized("internal calls carry the token of the cluster")


def _number(request: web.Request, name: str, default: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 2**62:
        raise Malformed(f"{name} must be a number, not {text[:32]!r}")
    return number
