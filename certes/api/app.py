"""The Master API as an aiohttp application: its routes, and the gate that every call passes."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from certes.api import commands, events, health, keys, rules, schemas, settings, sources, stats, subscriptions, tables
from certes.api.callers import Callers
from certes.api.cluster import Cluster
from certes.api.ports import Deps, Status
from certes.api.view import CALLER, CALLERS, CLUSTER, DEPS, ApiView
from certes.errors import Unavailable
from certes.internal import internal_routes
from certes.problems import problem_middleware

#: Schemas are the largest bodies.
MAX_BODY_BYTES = 4 << 20
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

VIEWS: dict[str, type[ApiView]] = {
    "/api/subscriptions": subscriptions.SubscriptionList,
    "/api/subscriptions/{id}": subscriptions.OneSubscription,
    "/api/subscriptions/{id}/secrets": subscriptions.Secrets,
    "/api/subscriptions/{id}/secrets/rotate": subscriptions.Rotate,
    "/api/events": events.EventList,
    "/api/events/{id}": events.OneEvent,
    "/api/events/{id}/payload": events.Payload,
    "/api/events/{id}/attempts": events.Attempts,
    "/api/events/{id}/retry": commands.Retry,
    "/api/events/{id}/cancel": commands.Cancel,
    "/api/priorities": rules.PriorityList,
    "/api/priorities/{scope:.+}": rules.OnePriority,
    "/api/backoffs": rules.BackoffList,
    "/api/backoffs/{scope:.+}": rules.OneBackoff,
    "/api/sources": sources.SourceList,
    "/api/sources/{name}": sources.OneSource,
    "/api/schemas": schemas.SchemaList,
    "/api/schemas/{uri:.+}": schemas.OneSchema,
    "/api/config": settings.ConfigView,
    "/api/tables": tables.TableList,
    "/api/tables/events/{id}": tables.EventRowView,
    "/api/tables/{table}": tables.OneTable,
    "/api/tables/{table}/{key:.+}": tables.OneRow,
    "/api/stats": stats.Stats,
    "/api/keys": keys.KeyList,
    "/api/keys/{id}": keys.OneKey,
}


def create_api(deps: Deps) -> web.Application:
    """The application of one worker. It keeps nothing but what `deps` hands it, and starts nothing."""
    app = web.Application(middlewares=[problem_middleware, _gate], client_max_size=MAX_BODY_BYTES)
    app[DEPS] = deps
    app[CLUSTER] = Cluster(deps)
    app[CALLERS] = Callers(deps)
    app.router.add_routes([web.get("/healthz", health.healthz), web.get("/readyz", health.readyz)])
    app.router.add_routes([web.view(path, view) for path, view in VIEWS.items()])
    key = deps.settings.cluster_key
    app.router.add_routes(internal_routes(deps.config_log, key, lambda: deps.status().lag_seconds))
    return app


@web.middleware
async def _gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Not during recovery; only for who may; and changes of the configuration only by its writer."""
    view = request.match_info.handler
    if not (isinstance(view, type) and issubclass(view, ApiView)):
        return await handler(request)
    deps = request.app[DEPS]
    _refuse_during_recovery(deps.status())
    caller = request[CALLER] = request.app[CALLERS].identify(request)
    caller.actor.require(view.role(request.method))
    if request.method in _SAFE or not view.writes_config or deps.config_writer.writes_here:
        return await handler(request)
    if caller.hop:
        raise Unavailable("the configuration is changing its writer; ask again")
    cluster = request.app[CLUSTER]
    return await cluster.pass_on(request, cluster.owner(0), actor=caller.actor.name)


def _refuse_during_recovery(status: Status) -> None:
    if not status.ready:
        progress = ", ".join(f"{name} {value}" for name, value in status.recovery.items())
        raise Unavailable(f"this worker is reading its tables back ({progress or 'starting'})", retry_after=2.0)
