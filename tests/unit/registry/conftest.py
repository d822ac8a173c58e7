"""A Confluent registry in memory, served over HTTP, so that unit tests see requests, faults and clocks they control."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from certes.clock import FrozenClock
from certes.registry.client import RegistryClient


class FakeRegistry:
    def __init__(self):
        self.texts = []
        self.subjects = {}
        self.requests = []
        self.headers = []
        self.down = False
        self.answer = None
        self.incompatible = ()

    def put(self, schema, subject=None):
        """Register as a producer would, without asking. The id."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        subject = subject or f"{schema['namespace']}.{schema['name']}"
        if text not in self.texts:
            self.texts.append(text)
        schema_id = self.texts.index(text) + 1
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def app(self):
        app = web.Application(middlewares=[self._watch])
        app.router.add_get("/subjects", self._subjects)
        app.router.add_get("/subjects/{subject}/versions", self._versions)
        app.router.add_get("/subjects/{subject}/versions/{version}", self._version)
        app.router.add_post("/subjects/{subject}", self._lookup)
        app.router.add_post("/subjects/{subject}/versions", self._register)
        app.router.add_get("/schemas/ids/{id}", self._by_id)
        app.router.add_get("/schemas/ids/{id}/versions", self._uses)
        app.router.add_post("/compatibility/subjects/{subject}/versions/{version}", self._check)
        return app

    @web.middleware
    async def _watch(self, request, handler):
        self.requests.append(f"{request.method} {request.path}")
        self.headers.append(request.headers)
        if self.down:
            return web.Response(status=503, text="down")
        return self.answer or await handler(request)

    async def _subjects(self, request):
        return web.json_response(list(self.subjects))

    async def _versions(self, request):
        ids = self.subjects.get(request.match_info["subject"])
        return web.json_response(list(range(1, len(ids) + 1))) if ids else _error(40401)

    async def _version(self, request):
        subject, version = request.match_info["subject"], request.match_info["version"]
        ids = self.subjects.get(subject)
        if not ids:
            return _error(40401)
        number = len(ids) if version == "latest" else int(version)
        return self._registered(subject, number) if number <= len(ids) else _error(40402)

    async def _lookup(self, request):
        subject, text = request.match_info["subject"], (await request.json())["schema"]
        for number, schema_id in enumerate(self.subjects.get(subject, []), 1):
            if json.loads(self.texts[schema_id - 1]) == json.loads(text):
                return self._registered(subject, number)
        return _error(40403)

    async def _register(self, request):
        if self.incompatible:
            return _error(40901, self.incompatible[0])
        return web.json_response({"id": self.put((await request.json())["schema"], request.match_info["subject"])})

    async def _by_id(self, request):
        schema_id = int(request.match_info["id"])
        if schema_id > len(self.texts):
            return _error(40403)
        return web.json_response({"schema": self.texts[schema_id - 1]})

    async def _uses(self, request):
        schema_id = int(request.match_info["id"])
        uses = [(subject, ids.index(schema_id) + 1) for subject, ids in self.subjects.items() if schema_id in ids]
        return web.json_response([{"subject": subject, "version": version} for subject, version in uses])

    async def _check(self, request):
        return web.json_response({"is_compatible": not self.incompatible, "messages": list(self.incompatible)})

    def _registered(self, subject, number):
        schema_id = self.subjects[subject][number - 1]
        text = self.texts[schema_id - 1]
        return web.json_response({"subject": subject, "version": number, "id": schema_id, "schema": text})


def _error(code, message="no"):
    return web.json_response({"error_code": code, "message": message}, status=code // 100 if code > 999 else code)


@pytest.fixture
def fake():
    return FakeRegistry()


@pytest.fixture
async def fake_url(fake):
    async with TestServer(fake.app()) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def client(fake_url):
    async with RegistryClient(fake_url, timeout_seconds=5) as client:
        yield client


@pytest.fixture
def clock():
    return FrozenClock()
