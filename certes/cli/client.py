"""The gateway as the commands see it: one call at a time, and its refusals as errors that a person can act on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from certes.errors import CertesError, Refused, Unauthorized, Unavailable, Violation
from certes.uri import gateway_url

if TYPE_CHECKING:
    import aiohttp

URL = "CERTES_URL"
API_KEY = "CERTES_API_KEY"
DEFAULT_URL = "http://127.0.0.1:9600"
TIMEOUT_SECONDS = 30.0
PAGE = 1000

Query = Mapping[str, str | int | None]
Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `unread` names the processes that have not read a change of the configuration yet."""

    body: bytes
    unread: str = ""

    def json(self) -> Any:
        """Raises Unavailable for an answer that is not from a gateway."""
        import orjson

        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Unavailable(f"the answer is no JSON: is {URL} the address of a gateway?") from error


@dataclass(frozen=True, slots=True)
class Client:
    """Calls a gateway. Everything raises Refused or Unavailable, with the reasons of the answer."""

    url: str
    api_key: str

    @classmethod
    def from_environment(cls) -> Client:
        """By CERTES_URL and CERTES_API_KEY. Raises UriError, Unauthorized."""
        api_key = os.environ.get(API_KEY, "")
        if not api_key:
            raise Unauthorized(
                f"{API_KEY} is not set: `certes dev` prints the admin key, `certes keys add` makes others"
            )
        return cls(gateway_url(os.environ.get(URL) or DEFAULT_URL), api_key)

    def get(self, path: str, query: Query | None = None) -> Answer:
        return self.call("GET", path, query=query)

    def items(self, path: str) -> list[Any]:
        """All items of a list, page by page."""
        return [item for page in self._pages(path) for item in page["items"]]

    def send(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        query: Query | None = None,
        headers: Headers | None = None,
    ) -> Answer:
        """A change, its body the document as JSON."""
        import orjson

        json = {"content-type": "application/json", **(headers or {})}
        return self.call(method, path, query=query, body=orjson.dumps(document or {}), headers=json)

    def call(
        self, method: str, path: str, *, query: Query | None = None, body: bytes = b"", headers: Headers | None = None
    ) -> Answer:
        import asyncio

        return asyncio.run(self._call(method, path, query=query or {}, body=body, headers=headers or {}))

    def _pages(self, path: str) -> Iterator[Any]:
        page = self.get(path, {"limit": PAGE}).json()
        yield page
        while page["next"]:
            page = self.get(path, {"limit": PAGE, "cursor": page["next"]}).json()
            yield page

    async def _call(self, method: str, path: str, *, query: Query, body: bytes, headers: Headers) -> Answer:
        import aiohttp
        import yarl

        asked = {name: value for name, value in query.items() if value is not None}
        address = yarl.URL(self.url + quote(path), encoded=True).with_query(asked)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        credentials = {"authorization": f"Bearer {self.api_key}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=credentials) as session,
                session.request(method, address, data=body or None, headers=headers) as response,
            ):
                return await _answer(response)
        except TimeoutError as error:
            raise Unavailable(f"{self.url} has not answered within {TIMEOUT_SECONDS:g} s") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"no gateway at {self.url} ({error}): start one, or set {URL}") from error


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    body = await response.read()
    if response.ok:
        return Answer(body, response.headers.get("certes-unread", ""))
    raise refusal(response.status, response.reason or "", Answer(body))


def refusal(status: int, reason: str, answer: Answer) -> CertesError:
    """The error that an answer tells of: an RFC 9457 problem document, or something else from a proxy before us."""
    try:
        document = answer.json()
        text = f"{document['title']}: {document['detail']}"
        errors = tuple(Violation(str(one["path"]), str(one["reason"])) for one in document.get("errors", ()))
    except (Unavailable, KeyError, TypeError, AttributeError):
        text, errors = f"HTTP {status} {reason}", ()
    return Unavailable(text) if status in (502, 503, 504) else Refused(text, errors)
