"""What the commands print. Text from outside is shown without anything a terminal would obey."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from certes.cli.client import Answer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

#: A pipe has no width: what reads it wants every row on a line of its own.
PIPE_WIDTH = 10_000


def json(document: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table with a head; nothing (None) is shown as a dash."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in shown.columns:
        column.overflow = "fold"
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    _console().print(shown)


def fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values below each other, without those that are not there."""
    present = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        typer.echo(f"{name:<{width}}  {plain(value)}")


def plain(value: Any) -> str:
    """One line of text that moves no cursor and sets no colour."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str("" if value is None else value)
    if not text:
        return "-"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def note(text: str) -> None:
    """A remark beside the result, on standard error."""
    typer.echo(text, err=True)


def unread(answer: Answer) -> None:
    """Tell who does not know yet of a change that has been made."""
    if answer.unread:
        note(f"done, but not yet read by: {plain(answer.unread)}")


def counts(numbers: dict[str, int]) -> str:
    """`3 delivered, 1 waiting`."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
