"""Errors as HTTP answers: RFC 9457 problem documents, made in one place for the gateway and the Master API."""

from __future__ import annotations

import logging
import math
import re
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from certes.errors import CertesError, Refused, Unauthorized, Unavailable

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def problem_response(error: CertesError) -> web.Response:
    """The answer to an error of Certes: `type, title, status, detail`, and `errors` where several things are wrong."""
    name = _CAPITAL.sub("-", type(error).__name__).lower()
    internal = error.status == HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "see the log of this process" if internal else str(error)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    errors = [{"path": one.path, "reason": one.reason} for one in error.errors] if isinstance(error, Refused) else []
    return _response(error.status, kind=name, title=error.title, detail=detail, errors=errors, headers=headers)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into a problem document. What nobody foresaw is logged and answered by 500."""
    try:
        return await handler(request)
    except CertesError as error:
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.exception("%s %s failed", request.method, request.path, extra={"action": "answer"})
        return problem_response(error)
    except web.HTTPException as answer:
        if answer.status < HTTPStatus.BAD_REQUEST:
            raise
        return _of_aiohttp(answer)
    except (web.RequestPayloadError, ConnectionResetError) as error:
        return _response(400, kind="malformed", title="Malformed request", detail=f"the body cannot be read: {error}")
    except Exception:
        logger.exception("%s %s failed", request.method, request.path, extra={"action": "answer"})
        return _response(500, kind="internal", title="Internal error", detail="see the log of this process")


def _of_aiohttp(answer: web.HTTPException) -> web.Response:
    """Aiohttp's own refusals: no such path, wrong method, body over the limit."""
    headers = {name: answer.headers[name] for name in ("Allow", "Retry-After") if name in answer.headers}
    title = HTTPStatus(answer.status).phrase
    kind = title.lower().replace(" ", "-")
    return _response(answer.status, kind=kind, title=title, detail=answer.text or title, headers=headers)


def _response(
    status: int,
    *,
    kind: str,
    title: str,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    document: dict[str, Any] = {
        "type": f"urn:certes:problem:{kind}",
        "title": title,
        "status": status,
        "detail": _printable(detail),
    }
    if errors:
        document["errors"] = [{name: _printable(text) for name, text in one.items()} for one in errors]
    return web.Response(status=status, body=orjson.dumps(document), content_type=CONTENT_TYPE, headers=headers)


def _printable(text: str) -> str:
    """Bytes of a request that are no UTF-8 come as lone surrogates, which JSON cannot hold."""
    return text.encode("utf-8", "replace").decode()
