from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from agents.transport.versions import PINNED, check_versions
from certes.errors import Fatal


def test_the_pinned_versions_pass() -> None:
    check_versions(PINNED.__getitem__)


@pytest.mark.parametrize("name", PINNED)
def test_any_other_version_is_fatal_and_named(name: str) -> None:
    with pytest.raises(Fatal, match=f"{name}=={PINNED[name]} and found 9.9"):
        check_versions({**PINNED, name: "9.9"}.__getitem__)


def test_a_missing_package_is_fatal() -> None:
    def nothing(_name: str) -> str:
        raise PackageNotFoundError

    with pytest.raises(Fatal, match="found none"):
        check_versions(nothing)
