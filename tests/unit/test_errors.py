from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from certes import errors
from certes.errors import CertesError, Fatal, Invalid, NotYet, Refused, Unavailable, UriError, Violation

LINE = re.compile(r"(?P<indent>[│├└─ ]*)(?P<name>\w+)\s*(?P<status>\d{3})?")


def classes(base: type[CertesError] = CertesError) -> list[type[CertesError]]:
    return [
        base,
        *(found for one in base.__subclasses__() if one.__module__ == errors.__name__ for found in classes(one)),
    ]


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """What the module's docstring draws: each class with its parent and status."""
    tree = (errors.__doc__ or "").split("\n\n", 1)[1]
    parents: list[tuple[int, str]] = []
    found: dict[str, tuple[str | None, int | None]] = {}
    for line in tree.splitlines():
        match = LINE.match(line)
        assert match is not None
        depth = len(match["indent"])
        parents = [one for one in parents if one[0] < depth]
        status = int(match["status"]) if match["status"] else None
        found[match["name"]] = (parents[-1][1] if parents else None, status)
        parents.append((depth, match["name"]))
    return found


def test_the_tree_of_the_docstring_is_complete_and_true() -> None:
    tree = drawn()
    assert set(tree) == {one.__name__ for one in classes()}
    for one in classes()[1:]:
        parent, status = tree[one.__name__]
        assert parent == one.__bases__[0].__name__
        assert status in (None, one.status)


@pytest.mark.parametrize("kind", classes())
def test_each_error_has_a_status_and_a_title_of_its_own(kind: type[CertesError]) -> None:
    assert 400 <= HTTPStatus(kind.status) < 600
    assert kind.title
    assert str(kind("the reason")) == "the reason"


def test_leaves_of_refused_are_told_apart_by_status_or_title() -> None:
    leaves = classes(Refused)[1:]
    assert len({(one.status, one.title) for one in leaves}) == len(leaves)
    assert all(400 <= one.status < 500 for one in leaves)


def test_errors_carry_what_a_caller_needs() -> None:
    violation = Violation("$.items[2].price", "is negative")
    assert Invalid("no", (violation,)).errors == (violation,)
    assert Invalid("no").errors == ()
    assert Unavailable("later").retry_after == 1.0
    assert NotYet("later", retry_after=5).retry_after == 5
    assert isinstance(UriError("x"), ValueError)  # pydantic turns it into a violation
    assert not isinstance(Fatal("x"), Refused)
