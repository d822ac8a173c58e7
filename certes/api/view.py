"""What the views have in common: who is asking, reading a body, conditions on a write, and the answer as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from certes.api.callers import Caller, Callers
from certes.api.cluster import Cluster
from certes.api.ports import Deps
from certes.errors import Invalid, Malformed, Violation

M = TypeVar("M", bound=BaseModel)

DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)
CLUSTER: web.AppKey[Cluster] = web.AppKey("cluster", Cluster)
CALLERS: web.AppKey[Callers] = web.AppKey("callers", Callers)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


class ApiView(web.View):
    """A view of the Master API. `resource` names the roles: `{resource}:read` for GET, `{resource}:write` for the rest;
    `writes_config`: all but GET is for the writer of the configuration.
    """

    resource: ClassVar[str]
    writes_config: ClassVar[bool] = False

    @classmethod
    def role(cls, method: str) -> str:
        return f"{cls.resource}:{'read' if method in ('GET', 'HEAD') else 'write'}"

    @property
    def deps(self) -> Deps:
        return self.request.app[DEPS]

    @property
    def cluster(self) -> Cluster:
        return self.request.app[CLUSTER]

    @property
    def caller(self) -> Caller:
        return self.request[CALLER]

    async def pass_on(self, partition: int) -> web.Response:
        """The answer of the worker that owns the partition."""
        return await self.cluster.pass_on(self.request, self.cluster.owner(partition), actor=self.caller.actor.name)

    async def document(self) -> dict[str, Any]:
        """The JSON object of the body; nothing is an empty one. Raises Malformed."""
        raw = await self.request.read()
        try:
            document = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError as error:
            raise Malformed(f"the body is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise Malformed("the body must be a JSON object")
        return document


def parse(model: type[M], document: Mapping[str, Any], *, ignore: Collection[str] = ()) -> M:
    """The document as a model, without the fields that only answers have. Raises Invalid with every path."""
    try:
        return model.model_validate({name: value for name, value in document.items() if name not in ignore})
    except ValidationError as error:
        found = tuple(
            _violation(one["loc"], one["msg"]) for one in error.errors(include_url=False, include_input=False)
        )
        raise Invalid(f"{len(found)} thing(s) are wrong in the body", found) from error


def _violation(location: tuple[int | str, ...], message: str) -> Violation:
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return Violation(path, message.removeprefix("Value error, "))


def answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    body = orjson.dumps(document)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
