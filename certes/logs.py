"""How the server processes log: lines for a person at a terminal, JSON for whatever collects them elsewhere.

Values come by `extra`: an `action` and ids, never payloads or secrets.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, TextIO

from certes.clock import rfc3339

FORMAT = "CERTES_LOG_FORMAT"
FORMATS = ("text", "json")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class TextFormatter(logging.Formatter):
    """`time level logger message key=value`, on one line; a traceback follows where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        values = [f"{name}={value}" for name, value in extras(record).items()]
        moment = rfc3339(record.created)
        line = " ".join([moment, f"{record.levelname:<7}", record.name, record.getMessage(), *values])
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time, level, logger, message`, the values, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given by `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def formatter(stream: TextIO, wanted: str | None) -> logging.Formatter:
    """The format that was asked for, else the one that suits the stream. Raises ValueError for an unknown one."""
    if wanted and wanted not in FORMATS:
        raise ValueError(f"{FORMAT} must be text or json, not {wanted!r}")
    chosen = wanted or ("text" if stream.isatty() else "json")
    return TextFormatter() if chosen == "text" else JsonFormatter()


def setup(level: int | str = logging.INFO) -> None:
    """Log to standard error, in the format of CERTES_LOG_FORMAT (`text`, `json`). Raises ValueError for another."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(sys.stderr, os.environ.get(FORMAT)))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
