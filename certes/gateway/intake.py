"""From a submission to an acknowledged record: checked against its schema, given its id, signed, appended."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from certes import tracing
from certes.clock import Clock
from certes.config import Config
from certes.errors import Invalid, Malformed, NotFound, Refused, Unavailable, Violation
from certes.event import event_id
from certes.gateway.cloudevents import raise_all
from certes.gateway.submission import Submission
from certes.log import partition_for
from certes.records import AVRO, id_scope, signed
from certes.registry.framing import frame, unframe
from certes.registry.schema import Schema
from certes.uri import EventUri

#: A larger body is parsed and validated in a thread, so that it does not hold up the others.
LARGE = 64 * 1024
#: Events of a batch that are checked before others get their turn.
TURN = 32


class Appender(Protocol):
    """The event log as the gateway needs it (`certes.log.EventLog`, or one in memory)."""

    async def append(
        self, *, value: bytes | None, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> tuple[int, int]: ...


class Schemas(Protocol):
    """The registry as the gateway needs it."""

    async def latest(self, uri: EventUri) -> Schema: ...

    async def by_id(self, schema_id: int) -> Schema: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A submission that may go onto the log. `schema_id` is set when its JSON is valid against that schema."""

    submission: Submission
    value: bytes
    schema_id: int | None = None


class Intake:
    """Takes events of verified sources. `config` answers the configuration of the moment."""

    def __init__(
        self,
        *,
        log: Appender,
        schemas: Schemas,
        config: Callable[[], Config],
        cluster_key: bytes,
        partitions: int,
        clock: Clock,
    ) -> None:
        self._log = log
        self._schemas = schemas
        self._config = config
        self._cluster_key = cluster_key
        self._partitions = partitions
        self._clock = clock

    async def publish(self, one: Submission, *, source: str) -> dict[str, str]:
        """One own event: `{"id", "uri"}` once Kafka has it. Raises Refused, Unavailable."""
        return await self._append(await self._check(one, source=source), source=source)

    async def publish_all(self, batch: Sequence[Submission], *, source: str) -> list[dict[str, str]]:
        """All events, or none if one cannot be taken. Raises Refused; Unavailable when Kafka may have only some."""
        checked: list[Checked] = []
        refused: list[tuple[str, Refused]] = []
        for at, one in enumerate(batch):
            try:
                checked.append(await self._check(one, source=source))
            except Refused as error:
                refused.append((one.where, error))
            if at % TURN == 0:
                await asyncio.sleep(0)
        raise_all(refused, len(batch))
        answers = await asyncio.gather(*[self._append(one, source=source) for one in checked], return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def publish_foreign(self, one: Submission, *, source: str) -> dict[str, str]:
        """A third party's event. Whether it keeps its schema is the broker's to say: whoever sent it cannot help it.

        Raises NotFound where the source requires a schema and there is none.
        """
        if self._config().sources[source].schemas == "required":
            await self._newest(one.uri)
        return await self._append(Checked(one, one.value), source=source)

    async def _check(self, one: Submission, *, source: str) -> Checked:
        if one.content_type == AVRO:
            return await self._check_avro(one)
        schema = await self._schema(one.uri, required=self._requires_schema(one.uri, source))
        violations = await _in_turn(one.value, lambda: _violations(schema, one.value))
        if schema is None:
            return Checked(one, one.value)
        if violations:
            raise _invalid(one, schema, violations)
        return Checked(one, one.value, schema.id)

    async def _check_avro(self, one: Submission) -> Checked:
        """Framed Avro as it is, plain Avro framed with the newest schema. Raises Refused."""
        schema = await self._framed_with(one)
        if schema is not None:
            await _in_turn(one.value, lambda: schema.decode(unframe(one.value).body))
            return Checked(one, one.value)
        newest = await self._newest(one.uri)
        await _in_turn(one.value, lambda: newest.decode(one.value))
        return Checked(one, frame(newest.id, one.value))

    async def _framed_with(self, one: Submission) -> Schema | None:
        """The schema that the value names, if it is one of the event's; plain Avro may begin with a 0 byte as well."""
        try:
            schema = await self._schemas.by_id(unframe(one.value).schema_id)
        except Refused:
            return None
        return schema if schema.uri == one.uri else None

    async def _schema(self, uri: EventUri, *, required: bool) -> Schema | None:
        """The newest schema. Where none is required, neither a missing one nor a registry that is down is an error:
        the broker decides.
        """
        if required:
            return await self._newest(uri)
        try:
            return await self._schemas.latest(uri)
        except (NotFound, Unavailable):
            return None

    async def _newest(self, uri: EventUri) -> Schema:
        try:
            return await self._schemas.latest(uri)
        except NotFound as error:
            advice = f"push one: certes schemas push {uri} FILE.avsc, or POST /api/schemas/{uri}"
            raise NotFound(f"there is no schema for {uri}, and it needs one; {advice}") from error

    def _requires_schema(self, uri: EventUri, source: str) -> bool:
        config = self._config()
        configured = config.sources.get(source)
        return (configured.schemas if configured else config.schema_rule(uri.domain)) == "required"

    async def _append(self, one: Checked, *, source: str) -> dict[str, str]:
        submission = one.submission
        given = submission.given or uuid7(self._clock.now())
        scope = id_scope(source, submission.attributes.get("source", ""))
        key = (submission.key or f"{scope}\0{given}").encode()
        partition = partition_for(key, self._partitions)
        uri = str(submission.uri)
        headers = _headers(one, uri=uri, source=source, given=given)
        await self._log.append(
            value=one.value,
            key=key,
            partition=partition,
            headers=signed(headers, one.value, cluster_key=self._cluster_key),
        )
        return {"id": event_id(partition=partition, source=scope, given=given), "uri": uri}


def _headers(one: Checked, *, uri: str, source: str, given: str) -> list[tuple[str, bytes]]:
    """The CloudEvents Kafka binding in binary mode, and what the gateway vouches for."""
    submission = one.submission
    trace = tracing.write((*submission.trace, tracing.correlation_id("gw")))
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", uri.encode()),
        ("ce_id", given.encode()),
        ("content-type", submission.content_type.encode()),
        ("certes_source", source.encode()),
        ("certes_trace", trace.encode()),
        *[(f"ce_{name}", text.encode()) for name, text in submission.attributes.items()],
    ]
    if submission.traceparent is not None:
        headers.append(("traceparent", submission.traceparent.encode()))
    if one.schema_id is not None:
        headers.append(("certes_schema", b"%d" % one.schema_id))
    return headers


def parse_json(value: bytes, where: str = "$") -> Any:
    """Strict JSON. Raises Malformed."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        reason = "is empty, an event has a payload" if not value else f"is no JSON: {error}"
        raise Malformed(f"{where} {reason}", (Violation(where, reason),)) from error


def uuid7(now: float) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds since 1970, then random, so that ids sort by their time."""
    at, random = f"{int(now * 1000):012x}", secrets.token_hex(10)
    variant = "89ab"[int(random[-1], 16) & 3]
    return f"{at[:8]}-{at[8:]}-7{random[:3]}-{variant}{random[3:6]}-{random[6:18]}"


def _violations(schema: Schema | None, value: bytes) -> tuple[Violation, ...]:
    data = parse_json(value)
    return () if schema is None else schema.validate(data)


def _invalid(one: Submission, schema: Schema, violations: tuple[Violation, ...]) -> Invalid:
    errors = tuple(Violation(one.where + violation.path[1:], violation.reason) for violation in violations)
    return Invalid(f"the event breaks schema {schema.release or schema.id} of {one.uri}", errors)


async def _in_turn(value: bytes, work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work) if len(value) > LARGE else work()
