from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.dev.ports import Ports, is_free
from certes.errors import Fatal

numbers = st.integers(1024, 65_535)


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_listening_port_is_not_free(busy: int) -> None:
    assert not is_free(busy)


def test_a_remembered_port_is_used_again() -> None:
    assert Ports({"kafka": 4711}, free=lambda _: True).choose("kafka") == 4711


def test_a_remembered_port_that_is_taken_is_replaced(busy: int) -> None:
    assert Ports({"kafka": busy}).choose("kafka") != busy


@given(remembered=st.dictionaries(st.sampled_from("abcd"), numbers), offered=st.lists(numbers, min_size=8, unique=True))
def test_every_name_has_a_port_of_its_own(remembered: dict[str, int], offered: list[int]) -> None:
    ports = Ports(remembered, free=lambda _: True, unused=iter(offered).__next__)
    assert len({ports.choose(name) for name in "abcd"}) == 4


def test_insisting_on_a_port_in_use_names_the_way_out(busy: int) -> None:
    with pytest.raises(Fatal, match=rf"port {busy} for the gateway is in use: .*--port"):
        Ports().insist("gateway", busy)
