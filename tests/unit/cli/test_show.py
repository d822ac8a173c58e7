from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.cli import show


@given(st.text() | st.lists(st.text()) | st.none() | st.integers())
def test_plain_obeys_no_terminal_and_stays_on_its_line(value: Any) -> None:
    text = show.plain(value)
    assert text
    assert all(char.isprintable() for char in text)


def test_plain() -> None:
    assert show.plain(None) == "-"
    assert show.plain(["a", "b"]) == "a, b"
    assert show.plain("\x1b[31mred") == "\N{REPLACEMENT CHARACTER}[31mred"


def test_a_table_in_a_pipe_has_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    show.table(("ID", "TEXT"), [("evt_1", long), ("evt_2", "[bold]not markup[/bold]")])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "TEXT"]
    assert [row.split()[0] for row in rows] == ["evt_1", "evt_2"]
    assert long in rows[0]
    assert "[bold]not markup[/bold]" in rows[1]
    assert "\x1b" not in "".join(rows)


def test_fields_leave_out_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    show.fields([("a", 1), ("longer", False), ("none", None), ("empty", [])])
    assert capsys.readouterr().out == "a       1\nlonger  False\n"


def test_counts() -> None:
    assert show.counts({"delivered": 3, "waiting": 1}) == "3 delivered, 1 waiting"
