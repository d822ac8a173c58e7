"""The errors of Certes. Each leaf is something a caller can act on; `status` is what the HTTP faces answer.

CertesError
├── Refused            the caller sent something wrong
│   ├── UriError           400  no event URI, pattern or gateway address
│   ├── Malformed          400  a body or header that cannot be read
│   ├── Unauthorized       401  no or wrong credentials or signature
│   ├── Forbidden          403  role missing
│   ├── NotFound           404  no such thing
│   ├── Conflict           409  the state does not allow it
│   ├── Gone               410  it existed once
│   ├── PreconditionFailed 412  the ETag is not the current one
│   ├── TooLarge           413  over a limit of size
│   ├── Unsupported        415  a media type nobody reads
│   └── Invalid            422  readable, but against the schema or the rules
├── Unavailable        503  something this process needs does not answer; try again
│   └── NotYet             504  it is on the log, but the fold has not come there in time
└── Fatal                   this process must not go on; it ends with the reason
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: where (a JSON path such as `$.items[2].price`) and why."""

    path: str
    reason: str


class CertesError(Exception):
    """Base of all errors of Certes."""

    status = 500
    title = "Internal error"


class Refused(CertesError):
    status = 400
    title = "Bad request"

    def __init__(self, detail: str, errors: tuple[Violation, ...] = ()) -> None:
        super().__init__(detail)
        self.errors = errors


class UriError(Refused, ValueError):
    title = "Malformed event URI"


class Malformed(Refused):
    title = "Malformed request"


class Unauthorized(Refused):
    status = 401
    title = "Unauthorized"


class Forbidden(Refused):
    status = 403
    title = "Forbidden"


class NotFound(Refused):
    status = 404
    title = "Not found"


class Conflict(Refused):
    status = 409
    title = "Conflict"


class Gone(Refused):
    status = 410
    title = "Gone"


class PreconditionFailed(Refused):
    status = 412
    title = "Precondition failed"


class TooLarge(Refused):
    status = 413
    title = "Too large"


class Unsupported(Refused):
    status = 415
    title = "Unsupported media type"


class Invalid(Refused):
    status = 422
    title = "Invalid"


class Unavailable(CertesError):
    """Something that is needed does not answer. `retry_after` in seconds."""

    status = 503
    title = "Unavailable"

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotYet(Unavailable):
    status = 504
    title = "Not folded yet"


class Fatal(CertesError):
    """The process must end: going on would lose or falsify something."""
