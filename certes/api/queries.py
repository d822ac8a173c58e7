"""The filters of event lists, from query parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from certes.api.ports import EventQuery
from certes.clock import from_rfc3339
from certes.errors import Malformed
from certes.event import EventState
from certes.uri import UriPattern

STATES: tuple[str, ...] = get_args(EventState)
_TEXT_LIMIT = 512


def event_query(query: Mapping[str, str]) -> EventQuery:
    """Raises Malformed, UriError."""
    uri = query.get("uri")
    state = query.get("state")
    if state is not None and state not in STATES:
        raise Malformed(f"state must be one of {', '.join(STATES)}")
    return EventQuery(
        uri=None if uri is None else str(UriPattern.parse(uri)),
        state=state,
        source=_text(query, "source"),
        subscription=_text(query, "subscription"),
        since=_moment(query, "since"),
        until=_moment(query, "until"),
        q=_text(query, "q"),
    )


def _text(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    if len(text) > _TEXT_LIMIT or not text.isprintable():
        raise Malformed(f"{name} must be at most {_TEXT_LIMIT} printable characters")
    return text


def _moment(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return round(from_rfc3339(text) * 1000)
    except (ValueError, OverflowError):
        # A plus sign that was not escaped comes as a space.
        raise Malformed(f"{name} must be a time such as 2026-11-24T16:03:00Z (a + must be written %2B)") from None
