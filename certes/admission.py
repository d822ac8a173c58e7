"""Admission: what the broker decides of a new event, from its schema, its content and the configuration.

It never waits. What it cannot know yet, because a schema is not cached, it answers as a Problem: the event is parked,
fetched for beside the fold (`parking`), and judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from certes.command import Verdict
from certes.config import Config
from certes.errors import Malformed, Refused, UriError, Violation
from certes.event import Problem, SchemaRef
from certes.records import AVRO, Arrival
from certes.registry.cache import Missing
from certes.registry.framing import unframe
from certes.registry.schema import Schema
from certes.uri import EventUri

MAX_PROBLEMS = 20
#: A larger body is validated beside the fold, in a thread: it would hold up those behind it.
LARGE = 64 * 1024


class Schemas(Protocol):
    """The registry as admission sees it: what is cached, without I/O."""

    def cached(self, schema_id: int) -> Schema | None: ...

    def cached_latest(self, uri: EventUri) -> Schema | Missing | None: ...


class Admission:
    """Judges arrivals. `config` answers the configuration of the moment."""

    def __init__(self, *, schemas: Schemas, config: Callable[[], Config]) -> None:
        self._schemas = schemas
        self._config = config

    def __call__(self, arrival: Arrival) -> Verdict | Problem:
        """The verdict, or what the event waits for."""
        if len(arrival.value) > LARGE:
            return Problem("is validated beside the fold, because it is large")
        try:
            found = self.look_up(arrival)
        except Refused as error:
            return rejected(error, uri=arrival.uri)
        return found if isinstance(found, Problem) else self.decide(arrival, found)

    def look_up(self, arrival: Arrival) -> Schema | Problem | None:
        """The schema that counts, None where there is none and needs to be none, or what is missing. Raises Refused."""
        if not arrival.value:
            raise Malformed("the record has no value")
        schema_id = (
            unframe(arrival.value).schema_id if is_avro(arrival.content_type, arrival.value) else arrival.schema_id
        )
        if schema_id is not None:
            return self._schemas.cached(schema_id) or Problem(f"waits for schema {schema_id}")
        uri = _named(arrival)
        found = self._schemas.cached_latest(uri)
        if not isinstance(found, Missing):
            return found or Problem(f"waits for the schema of {uri}")
        if self.requires_schema(arrival, uri):
            return Problem(f"waits for a schema of {uri} to be pushed: none is registered")
        return None

    def decide(self, arrival: Arrival, schema: Schema | None) -> Verdict:
        """The verdict under a schema. It touches nothing that changes, so it may run in a thread."""
        try:
            if is_avro(arrival.content_type, arrival.value) and schema is not None:
                decoded = schema.decode(unframe(arrival.value).body)
                return self._routed(arrival, schema.uri or _named(arrival), schema, lambda: schema.to_json(decoded))
            uri = _named(arrival)
            if schema is None or arrival.schema_id is not None:
                # Nothing to check it against, or the gateway has done so and vouches for it.
                return self._routed(arrival, uri, schema, lambda: parse_json(arrival.value))
            data = parse_json(arrival.value)
            violations = schema.validate(data)
            return (
                _violated(violations, uri, schema) if violations else self._routed(arrival, uri, schema, lambda: data)
            )
        except Refused as error:
            return rejected(error, uri=_uri_text(arrival, schema), schema=schema)

    def requires_schema(self, arrival: Arrival, uri: EventUri) -> bool:
        """Third parties' sources say so themselves; own events need a schema unless their domain's setting says not."""
        config = self._config()
        source = config.sources.get(arrival.source)
        if source is not None:
            return source.schemas == "required"
        return config.schema_rule(uri.domain) == "required"

    def _routed(self, arrival: Arrival, uri: EventUri, schema: Schema | None, data: Callable[[], Any]) -> Verdict:
        def variables() -> Mapping[str, Any]:
            return {"data": data(), "event": attributes(arrival, uri)}

        return Verdict(
            uri=str(uri),
            schema=_reference(schema),
            routes=self._config().router.routes(uri=str(uri), source=arrival.source, variables=variables),
        )


def attributes(arrival: Arrival, uri: EventUri) -> dict[str, Any]:
    """What a filter sees as `event`."""
    return {
        "id": arrival.id,
        "uri": str(uri),
        "domain": uri.domain,
        "namespace": uri.namespace,
        "version": uri.version,
        "name": uri.event,
        "source": arrival.source,
        "ce_source": arrival.ce_source or "",
        "key": arrival.key or "",
    }


def is_avro(content_type: str | None, value: bytes) -> bool:
    """A stock Avro producer sends no content type: its values begin with a 0 byte, which no JSON does."""
    if content_type is not None:
        return content_type.partition(";")[0].strip().lower() in (AVRO, "avro/binary", "application/x-avro")
    return value[:1] in (b"\x00", b"\x01")


def parse_json(value: bytes) -> Any:
    """Raises Malformed."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the value is no JSON: {error}") from error


def rejected(error: Refused, *, uri: str | None, schema: Schema | None = None) -> Verdict:
    """The verdict on an event that cannot be taken."""
    problems = (Problem(str(error)), *(Problem(one.reason, one.path) for one in error.errors))
    return Verdict(uri=uri, schema=_reference(schema), errors=problems[:MAX_PROBLEMS])


def _reference(schema: Schema | None) -> SchemaRef | None:
    return None if schema is None else SchemaRef(schema.id, schema.release)


def _uri_text(arrival: Arrival, schema: Schema | None) -> str | None:
    return arrival.uri if schema is None or schema.uri is None else str(schema.uri)


def _violated(violations: tuple[Violation, ...], uri: EventUri, schema: Schema) -> Verdict:
    return Verdict(
        uri=str(uri),
        schema=_reference(schema),
        errors=tuple(Problem(one.reason, one.path) for one in violations[:MAX_PROBLEMS]),
    )


def _named(arrival: Arrival) -> EventUri:
    if arrival.uri is None:
        raise Malformed("unknown event type: the schema has no certes.uri and the record no ce_type")
    try:
        return EventUri.parse(arrival.uri)
    except UriError as error:
        raise Malformed(f"unknown event type: {error}") from error
