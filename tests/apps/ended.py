"""`die` for tests: an exception instead of the end of the process."""

from __future__ import annotations

from typing import NoReturn


class Ended(BaseException):
    """Not an Exception, so that nothing that catches errors goes on after it."""


def end(reason: str) -> NoReturn:
    raise Ended(reason)


class Deaths:
    """Keeps the reasons; for callbacks, whose exceptions the event loop would only log."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, reason: str) -> NoReturn:
        self.reasons.append(reason)
        raise Ended(reason)
