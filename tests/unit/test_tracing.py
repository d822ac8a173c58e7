from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes import tracing

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def test_a_correlation_id_names_its_component_and_is_new() -> None:
    one, other = tracing.correlation_id("gw"), tracing.correlation_id("gw")
    assert one.startswith("gw.")
    assert one != other


def test_the_brokers_id_is_derived_so_that_each_fold_gives_the_same() -> None:
    assert tracing.position_id(3, 42) == "eb.3-42"


@given(st.lists(IDS, max_size=tracing.MAX_IDS))
def test_own_ids_read_back_in_order(ids: list[str]) -> None:
    assert tracing.read(tracing.write(ids), foreign=False) == tuple(ids)


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        ("", ()),
        ("req-1", ("ext.req-1",)),
        ("gw.1, eb.2", ("ext.gw.1", "ext.eb.2")),
        ("ext.gw.1", ("ext.gw.1",)),
        ("a,,b;c, d e ,é,f\n,g", ("ext.a", "ext.f", "ext.g")),
        ("x" * 64, ("ext." + "x" * 60,)),
        ("x" * 65, ()),
        (",".join(f"i{number}" for number in range(40)), tuple(f"ext.i{number}" for number in range(8, 40))),
    ],
)
def test_foreign_ids_get_ext_in_front_once_and_what_is_no_id_is_dropped(header: str, ids: tuple[str, ...]) -> None:
    assert tracing.read(header, foreign=True) == ids


@given(st.text(st.characters()), st.booleans())
def test_any_header_gives_ids_that_a_header_can_hold(header: str, foreign: bool) -> None:
    ids = tracing.read(header, foreign=foreign)
    assert len(ids) <= tracing.MAX_IDS
    assert tracing.read(tracing.write(ids), foreign=foreign) == ids
    assert all(one.startswith("ext.") for one in ids if foreign)
