from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes import logs


def record(message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("certes.test").makeRecord(
        "certes.test", logging.WARNING, "file.py", 1, message, args, None, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_for_a_person() -> None:
    line = logs.TextFormatter().format(record("waiting for %s", "Kafka", action="start", event="evt_1"))
    assert line == "2023-11-14T22:13:20.250Z WARNING certes.test waiting for Kafka action=start event=evt_1"


def test_a_line_for_a_machine() -> None:
    line = logs.JsonFormatter().format(record("waiting for %s", "Kafka", action="start", partition=3))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "certes.test",
        "message": "waiting for Kafka",
        "action": "start",
        "partition": 3,
    }


@given(st.text(), st.text())
def test_a_machine_reads_any_text_as_one_line(message: str, value: str) -> None:
    line = logs.JsonFormatter().format(record("%s", message, action=value))
    assert "\n" not in line
    assert (json.loads(line)["message"], json.loads(line)["action"]) == (message, value)


def test_tracebacks() -> None:
    try:
        raise KeyError("lost")  # noqa: TRY301 - to have a traceback
    except KeyError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    assert "KeyError: 'lost'" in json.loads(logs.JsonFormatter().format(made))["exception"]
    assert "KeyError: 'lost'" in logs.TextFormatter().format(made)


def test_the_format_suits_the_stream_unless_it_is_asked_for() -> None:
    assert isinstance(logs.formatter(Terminal(), None), logs.TextFormatter)
    assert isinstance(logs.formatter(io.StringIO(), None), logs.JsonFormatter)
    assert isinstance(logs.formatter(io.StringIO(), "text"), logs.TextFormatter)
    assert isinstance(logs.formatter(Terminal(), "json"), logs.JsonFormatter)
    with pytest.raises(ValueError, match="CERTES_LOG_FORMAT must be text or json, not 'xml'"):
        logs.formatter(io.StringIO(), "xml")


def test_setup_writes_to_standard_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CERTES_LOG_FORMAT", "json")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        logs.setup()
        logging.getLogger("certes.test").info("up", extra={"action": "start"})
    finally:
        root.handlers = before
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    written = capsys.readouterr()
    assert written.out == ""
    assert json.loads(written.err)["action"] == "start"
