"""The gateway's two web applications: the public face, and the listener that only the other processes use."""

from __future__ import annotations

from aiohttp import web

from certes.config import ConfigLog
from certes.gateway.passing import Passing
from certes.gateway.views import BATCH_FACTOR, Views
from certes.internal import internal_routes
from certes.problems import problem_middleware

#: Bytes that aiohttp reads of a body before it gives up, beyond the largest that is taken; the views say the limit.
SLACK = 1024


def public_app(*, views: Views, passing: Passing, max_body_bytes: int) -> web.Application:
    """Publishing, health, and everything else passed on to a worker."""
    app = web.Application(middlewares=[problem_middleware], client_max_size=max_body_bytes * BATCH_FACTOR + SLACK)
    app.add_routes([*views.routes(), web.route("*", "/{path:.*}", passing.handle)])
    return app


def internal_app(config_log: ConfigLog, cluster_key: bytes) -> web.Application:
    """What the writer of the configuration asks every process."""
    app = web.Application(middlewares=[problem_middleware])
    app.add_routes(internal_routes(config_log, cluster_key))
    return app
