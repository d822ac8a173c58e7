"""Views of configuration entries: read from this process's copy, written through the one writer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from aiohttp import web

from certes.api.paging import Item, Paging
from certes.api.view import ApiView, answer
from certes.config import Entry, Kind
from certes.config_writer import Decide, Precondition, Written
from certes.errors import Invalid, Malformed, NotFound

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


class EntryView(ApiView):
    """A view of the entries of one kind."""

    writes_config = True
    kind: ClassVar[Kind]

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self.deps.config_log.config.entries[self.kind]

    def present(self, name: str) -> Entry:
        """Raises NotFound."""
        return self.require(self.entries.get(name), name)

    def require(self, entry: Entry | None, name: str) -> Entry:
        """Raises NotFound."""
        if entry is None:
            raise NotFound(f"there is no {self.kind} {name[:128]}")
        return entry

    async def change(self, name: str, decide: Decide) -> Written:
        """Change an entry under the request's conditions."""
        return await self.deps.config_writer.change(self.kind, name, decide, expect=precondition(self.request))

    async def remove(self, name: str) -> web.Response:
        def gone(entry: Entry | None) -> None:
            self.require(entry, name)

        written = await self.change(name, gone)
        return web.Response(status=204, headers=_headers(written))

    def listed(self, items: Iterable[Item], *by: str) -> web.Response:
        """A page of the items, ordered by these fields, which hold text."""
        paging = Paging.of(self.request.query, (str,) * len(by))
        return answer(paging.page(items, lambda item: tuple(item[field] for field in by)))

    def written(self, written: Written, show: Callable[[Entry], Item]) -> web.Response:
        """The answer to a write: the entry as it stands now, 201 where there was none before."""
        assert written.entry is not None
        return answer(show(written.entry), status=201 if written.before is None else 200, headers=_headers(written))


def shown(entry: Entry, document: Item) -> web.Response:
    return answer(document, headers={"etag": entry.etag})


def precondition(request: web.Request) -> Precondition:
    """`If-Match` and `If-None-Match: *` of a write. Raises Malformed."""
    none_match = request.headers.get("if-none-match")
    if none_match not in (None, "*"):
        raise Malformed("If-None-Match of a write can only be *")
    etags = (part.strip().removeprefix("W/") for part in request.headers.get("if-match", "").split(","))
    return Precondition(frozenset(etag for etag in etags if etag), absent=none_match is not None)


def name_of(text: str, what: str) -> str:
    """A name that a caller chose for an entry. Raises Invalid."""
    if not _NAME.match(text):
        raise Invalid(
            f"{text[:64]!r} cannot name a {what}: at most 64 letters, digits, _ . -, not starting with . or -"
        )
    return text


def _headers(written: Written) -> dict[str, Any]:
    headers = {"etag": written.entry.etag} if written.entry is not None else {}
    return headers | ({"certes-unread": ", ".join(written.unread)} if written.unread else {})


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    before = target if isinstance(target, dict) else {}
    after = {name: value for name, value in before.items() if name not in patch}
    return after | {name: merge(before.get(name), value) for name, value in patch.items() if value is not None}
