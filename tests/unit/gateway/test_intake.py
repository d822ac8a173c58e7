from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from certes.gateway.intake import uuid7


@given(st.floats(0, 2**48 / 1000 - 1))
def test_own_ids_are_uuids_of_version_7_that_hold_their_time(now: float) -> None:
    made = uuid.UUID(uuid7(now))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(now * 1000)
    assert str(made) == str(made).lower()


def test_own_ids_differ_and_sort_by_time() -> None:
    assert len({uuid7(1_700_000_000.0) for _ in range(1000)}) == 1000
    assert uuid7(1_700_000_000.0) < uuid7(1_700_000_000.001) < uuid7(1_900_000_000.0)
