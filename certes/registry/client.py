"""Speaks the Confluent Schema Registry's REST API: which calls Certes needs, with errors of its own tree."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from certes.errors import CertesError, Conflict, Invalid, NotFound, Refused, Unavailable, Violation

logger = logging.getLogger(__name__)

LATEST = "latest"
CONNECT_SECONDS = 2.0

T = TypeVar("T")

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a subject as the registry keeps it."""

    subject: str
    version: int
    id: int
    text: str
    #: `AVRO`, `JSON` or `PROTOBUF`.
    kind: str = "AVRO"


class RegistryClient:
    """A registry under one or several addresses (comma separated), asked in turn until one answers.

    Every call raises NotFound, Conflict or Invalid for what the registry answers so, and Unavailable where no address
    gives a usable answer. Credentials are a user name and password, or a bearer token.
    """

    def __init__(
        self,
        urls: str,
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._urls = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        if not self._urls:
            raise ValueError("the registry needs at least one URL")
        self._headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        if username is not None:
            credentials = b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        elif token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = ClientTimeout(total=timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def text_of(self, schema_id: int) -> str:
        """The text of a schema by its id."""
        kind, text = await self._call(
            "GET", f"/schemas/ids/{schema_id}", lambda found: (found.get("schemaType"), str(found["schema"]))
        )
        if kind not in (None, "AVRO"):
            raise Invalid(f"schema {schema_id} is {kind}; Certes reads Avro")
        return text

    async def uses_of(self, schema_id: int) -> dict[str, int]:
        """The subjects that hold a schema, each with its newest version of it."""
        return await self._call("GET", f"/schemas/ids/{schema_id}/versions", _uses)

    async def subjects(self) -> list[str]:
        return await self._call("GET", "/subjects", lambda found: [str(subject) for subject in found])

    async def versions(self, subject: str) -> list[int]:
        """The numbers of a subject's versions, oldest first."""
        path = f"/subjects/{_quoted(subject)}/versions"
        return await self._call("GET", path, lambda found: sorted(int(number) for number in found))

    async def version(self, subject: str, number: int | str = LATEST) -> Registered:
        return await self._call("GET", f"/subjects/{_quoted(subject)}/versions/{number}", _registered)

    async def lookup(self, subject: str, text: str) -> Registered:
        """The version that a text already is. Raises NotFound if it is none."""
        return await self._call("POST", f"/subjects/{_quoted(subject)}", _registered, text)

    async def register(self, subject: str, text: str) -> int:
        """Add a version, or find it again. Its id. Raises Conflict if the registry finds it incompatible."""
        return await self._call("POST", f"/subjects/{_quoted(subject)}/versions", lambda found: int(found["id"]), text)

    async def check(self, subject: str, text: str, *, against: int | str = LATEST) -> tuple[Violation, ...] | None:
        """None if the registry finds a text compatible with a version, else its reasons (some registries give none)."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions/{against}?verbose=true"
        return await self._call("POST", path, _verdict, text)

    async def _call(self, method: str, path: str, shape: Callable[[Any], T], text: str | None = None) -> T:
        """What the first address that gives an answer says; that one is asked first from then on."""
        body = None if text is None else orjson.dumps({"schema": text})
        reasons = []
        for url in tuple(self._urls):
            try:
                answer = shape(await self._ask(url, method, path, body))
            except Refused:
                self._prefer(url)
                raise
            except (Unavailable, LookupError, TypeError, ValueError, AttributeError) as error:
                reason = str(error) if isinstance(error, Unavailable) else "its answer has an unknown form"
                logger.warning("registry %s: %s", _shown(url), reason, extra={"action": "registry_unavailable"})
                reasons.append(f"{_shown(url)}: {reason}")
            else:
                self._prefer(url)
                return answer
        raise Unavailable(f"the schema registry does not answer ({'; '.join(reasons)})")

    async def _ask(self, url: str, method: str, path: str, body: bytes | None) -> Any:
        if self._session is None:
            self._session = ClientSession(timeout=self._timeout, headers=self._headers)
        target = URL(url + path, encoded=True)
        try:
            async with self._session.request(method, target, data=body, allow_redirects=False) as response:
                status, content = response.status, await response.read()
        except (ClientError, TimeoutError, OSError) as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if status == 200 and answer is not None:
            return answer
        raise _error(status, answer)

    def _prefer(self, url: str) -> None:
        if self._urls[0] != url:
            self._urls.remove(url)
            self._urls.insert(0, url)


def _error(status: int, answer: Any) -> CertesError:
    """The error of our tree for an answer that is none; codes are `409` or `40901`, `40401`, `42201` and so on."""
    code = answer.get("error_code") if isinstance(answer, dict) else None
    message = str(answer.get("message") or status) if isinstance(answer, dict) else ""
    if status in (401, 403):
        return Unavailable(f"it refuses the credentials it is given ({status}); check user name, password or token")
    if not isinstance(code, int):
        return Unavailable(f"it answers {status} without saying why; check that its URL is that of a Confluent API")
    leaf = _LEAVES.get(int(str(code)[:3]))
    if leaf is None:
        return Unavailable(f"it answers {status}, {code}: {message}")
    return leaf(f"the schema registry says: {message}", (Violation("$", message),))


_LEAVES: dict[int, type[Refused]] = {404: NotFound, 409: Conflict, 422: Invalid}


def _registered(answer: Any) -> Registered:
    return Registered(
        str(answer["subject"]),
        int(answer["version"]),
        int(answer["id"]),
        str(answer["schema"]),
        str(answer.get("schemaType") or "AVRO"),
    )


def _uses(answer: Any) -> dict[str, int]:
    return {str(use["subject"]): int(use["version"]) for use in sorted(answer, key=lambda use: int(use["version"]))}


def _verdict(answer: Any) -> tuple[Violation, ...] | None:
    if answer["is_compatible"]:
        return None
    return tuple(Violation("$", str(message)) for message in answer.get("messages") or ())


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _shown(url: str) -> str:
    """The address without credentials."""
    return str(URL(url).with_user(None))
