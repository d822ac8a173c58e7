"""Running a command of `certes` within the test process, as a shell would: arguments, environment and input in, exit
code and output out.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from certes.cli import main

CLIENT = {"CERTES_URL": "", "CERTES_API_KEY": "key_test"}


@dataclass(frozen=True)
class Ran:
    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()


def run(*arguments: str, stdin: bytes = b"", **env: str) -> Ran:
    """Nothing of it may end in a traceback: an exception that is not an exit fails the test."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with (
        mock.patch.dict(os.environ, CLIENT | env),
        mock.patch.object(sys, "argv", ["certes", *arguments]),
        mock.patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = _exit_code()
    return Ran(code, out.buffer.getvalue(), err.buffer.getvalue().decode())  # type: ignore[attr-defined]


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
