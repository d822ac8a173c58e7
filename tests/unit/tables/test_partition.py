from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.errors import Fatal
from tables.partition import FLUSH_ROWS, FORMAT, PartitionFile, open_partition
from tables.projection import Projected, View
from tests.apps.counting import Counting, row


def opened(path: Path) -> PartitionFile:
    return open_partition(path, Counting())


def seen(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another connection sees, that is, what is committed."""
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counts" / "0.db"


def test_a_row_is_read_back_at_once_and_by_others_after_commit(path: Path) -> None:
    file = opened(path)
    file.put(b"a", row(1, "one"))
    assert file.get(b"a") == row(1, "one")
    assert seen(path, "select * from rows") == []
    file.commit()
    assert file.get(b"a") == row(1, "one")
    assert seen(path, "select * from rows") == [(b"a", row(1, "one"), 1)]
    assert seen(path, "select * from texts") == [(b"a", "one")]
    assert seen(path, "select letter from letters") == [("o",), ("n",), ("e",)]


def test_a_rewritten_row_replaces_all_that_it_projected(path: Path) -> None:
    file = opened(path)
    file.put(b"a", row(1, "one"))
    file.put(b"b", row(1, "two"))
    file.commit()
    file.put(b"a", row(2, "no"))
    file.commit()
    assert seen(path, "select * from texts order by key") == [(b"a", "no"), (b"b", "two")]
    assert seen(path, "select letter from letters where key = x'61'") == [("n",), ("o",)]


def test_none_deletes_a_row_and_what_it_projected(path: Path) -> None:
    file = opened(path)
    file.put(b"a", row(1, "one"))
    file.commit()
    file.put(b"a", None)
    assert file.get(b"a") is None
    file.commit()
    for table in ("rows", "texts", "letters"):
        assert seen(path, f"select * from {table}") == []


@pytest.mark.parametrize("together", [True, False])
def test_the_higher_applied_stays_whichever_comes_first(path: Path, together: bool) -> None:
    file = opened(path)
    file.put(b"a", row(5, "new"))
    if not together:
        file.commit()
    file.put(b"a", row(4, "old"))
    file.commit()
    assert file.get(b"a") == row(5, "new")
    assert seen(path, "select text from texts") == [("new",)]
    assert seen(path, "select letter from letters") == [("n",), ("e",), ("w",)]


def test_of_equal_ones_the_newer_write_stays(path: Path) -> None:
    file = opened(path)
    file.put(b"a", row(5, "one"))
    file.commit()
    file.put(b"a", row(5, "two"))
    file.commit()
    assert file.get(b"a") == row(5, "two")


def test_a_full_buffer_is_flushed_but_not_committed(path: Path) -> None:
    file = opened(path)
    for n in range(FLUSH_ROWS + 1):
        file.put(b"%d" % n, row(n, "x"))
    assert file.get(b"0") == row(0, "x")
    assert file.count() == FLUSH_ROWS + 1
    assert seen(path, "select * from rows") == []


def test_rows_and_offset_come_together(path: Path) -> None:
    file = opened(path)
    assert file.offset is None
    file.apply([(b"a", row(1, "x")), (b"b", None)], 17)
    assert seen(path, "select value from meta where name = 'offset'") == [(17,)]
    assert seen(path, "select key from rows") == [(b"a",)]
    file.close()
    assert opened(path).offset == 17


def test_the_offset_is_not_saved_before_the_rows_that_were_put_before_it(path: Path) -> None:
    file = opened(path)
    file.put(b"a", row(1, "x"))
    file.offset = 3
    assert seen(path, "select value from meta where name = 'offset'") == []
    file.commit()
    assert seen(path, "select key from rows") == [(b"a",)]
    assert seen(path, "select value from meta where name = 'offset'") == [(3,)]


def test_what_was_not_committed_is_not_there_after_a_crash(path: Path) -> None:
    file = opened(path)
    file.apply([(b"a", row(1, "x"))], 1)
    file.put(b"b", row(2, "y"))
    file._flush()
    file._db.close()  # no commit, no farewell
    again = opened(path)
    assert (again.offset, list(again.all_keys())) == (1, [b"a"])


def test_a_file_of_a_newer_version_is_fatal_and_left_alone(path: Path) -> None:
    opened(path).close()
    db = sqlite3.connect(path)
    db.execute(f"pragma user_version = {FORMAT + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(Fatal, match=f"format {FORMAT + 1}.*start the newer version"):
        opened(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_set_aside_and_begun_anew(path: Path) -> None:
    file = opened(path)
    file.apply([(b"a", row(1, "x"))], 1)
    file.close()
    path.write_bytes(b"this is no database at all, whatever its name says" * 100)
    again = opened(path)
    assert (again.offset, again.count()) == (None, 0)
    assert path.with_name("0.db.damaged-1").read_bytes().startswith(b"this is no database")
    again.close()
    path.write_bytes(b"nor is this" * 1000)
    opened(path).close()
    assert path.with_name("0.db.damaged-2").exists()


def test_damage_inside_is_found_unless_the_file_was_closed_in_order(path: Path) -> None:
    file = opened(path)
    file.apply([(b"%d" % n, row(1, "x" * 100)) for n in range(500)], 1)
    file.close()
    db = sqlite3.connect(path)
    db.execute("update meta set value = 0 where name = 'clean'")
    db.commit()
    db.close()
    content = bytearray(path.read_bytes())
    content[-4096 * 3 :] = b"\xff" * 4096 * 3
    path.write_bytes(content)
    again = opened(path)
    assert (again.offset, again.count()) == (None, 0)
    assert path.with_name("0.db.damaged-1").exists()


def test_other_views_than_before_begin_anew(path: Path) -> None:
    class Other(Counting):
        views = (View("create table if not exists other (key blob)", "delete from other where key = ?", ""),)

        def project(self, key: bytes, value: bytes) -> Projected:
            return Projected(1, ([],))

    file = opened(path)
    file.apply([(b"a", row(1, "x"))], 1)
    file.close()
    assert open_partition(path, Other()).offset is None


def test_an_error_of_the_disk_is_not_taken_for_damage(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError):
        opened(path)
    assert path.is_dir()


writes = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.tuples(st.integers(0, 5), st.text("xyz", max_size=3)))
)


@given(rows=writes, cuts=st.sets(st.integers(0, 20)))
def test_rows_and_views_follow_the_rule_wherever_flushes_fall(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], cuts: set[int]
) -> None:
    path = tmp_path_factory.mktemp("p") / "0.db"
    file = opened(path)
    expected: dict[bytes, tuple[int, str]] = {}
    for number, (key, written) in enumerate(rows):
        file.put(key, written and row(*written))
        if written is None:
            expected.pop(key, None)
        elif written[0] >= expected.get(key, (-1, ""))[0]:
            expected[key] = written
        if number in cuts:
            file.commit()
    file.close()
    assert dict(seen(path, "select key, value from rows")) == {key: row(*value) for key, value in expected.items()}
    assert dict(seen(path, "select key, text from texts")) == {key: text for key, (_, text) in expected.items()}
    assert sorted(seen(path, "select key, letter from letters")) == sorted(
        (key, letter) for key, (_, text) in expected.items() for letter in text
    )
