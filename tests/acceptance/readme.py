"""The README's tour as programs: its shell blocks in order, its Python blocks as the files they name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")


@dataclass
class Tour:
    """`script` is run by bash in the directory that has the `files`."""

    script: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def replaced(self, changes: dict[str, str]) -> Tour:
        """As a reader would adapt it, e.g. to another port. Each text to change must be there."""
        for old in changes:
            assert any(old in text for text in (self.script, *self.files.values())), f"the tour has no {old!r}"
        files = {name: _change(text, changes) for name, text in self.files.items()}
        return Tour(_change(self.script, changes), files)


def tour(heading: str = "Five minutes") -> Tour:
    """The blocks under a heading. What a person does in another terminal is marked `console` and left out."""
    found = Tour()
    for kind, text in _BLOCK.findall(section(heading)):
        if kind == "sh":
            found.script += text
        elif kind == "python":
            name = _FILE.match(text)
            assert name is not None, f"a Python block begins with its file's name, not with {text[:40]!r}"
            found.files[name[1]] = text
        else:
            assert kind == "console", f"the tour has a block {kind!r} that nobody runs"
    return found


def section(heading: str) -> str:
    _, _, rest = README.read_text().partition(f"\n## {heading}\n")
    assert rest, f"the README has no section {heading!r}"
    return rest.partition("\n## ")[0]


def _change(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text
