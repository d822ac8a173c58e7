from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certes.filters import FUNCTIONS, compile_filter, passes

DATA = {"ref": "refs/heads/main", "cents": 4200, "price": 4.5, "items": [{"price": 1}, {"price": 5}], "none": None}
TOKENS = st.sampled_from(
    [
        *(
            "data",
            "event",
            ".ref",
            ".cents",
            "[0]",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "'a'",
            '"',
            "1",
            "1.5",
            "-",
            "+",
            "/",
        ),
        *(
            "9223372036854775807",
            "-9223372036854775808",
            "&&",
            "||",
            "!",
            "?",
            ":",
            ",",
            "==",
            "<",
            " in ",
            "null",
            "%",
        ),
        *(".all(x, x)", ".map(x, ", "has(", "size(", "int(", "uint(", "timestamp(", "duration(", ".matches('[')"),
        *("'\\xff'", "b'\\xff'", "1e400", "0x", "é", "\0", "\ud800", "@", "foo", "_", "true"),
    ]
)
EXPRESSIONS = st.text() | st.lists(TOKENS, max_size=10).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def refusal(expression: str) -> str | None:
    """The reason against a filter; None when it is taken."""
    try:
        compile_filter(expression)
    except ValueError as error:
        return str(error)
    return None


def result(expression: str, data: Any = DATA) -> bool | None:
    return passes(expression, {"data": data, "event": {"uri": "a.dev/_/1/x", "version": 1, "source": "github"}})


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ('data.ref == "refs/heads/main"', True),
        ('data.ref == "refs/heads/other"', False),
        ("data.cents > 1000 && event.source == 'github'", True),
        ("event.uri.startsWith('a.dev/') && event.version == 1", True),
        ("data.items.exists(item, item.price > 4)", True),
        ("data.items.all( item , item.price > 4 )", False),
        ("data.items.map(item, item.price > 4, item.price)[0] == 5", True),
        ("size(data.items.filter(item, item.price > 4)) == 1", True),
        ("has(data.missing)", False),
        ("has(data.missing) && data.missing > 3", False),
        ("data.none == null", True),
        ("type(data.cents) == int", True),
        ("timestamp('2026-11-24T16:03:00Z').getHours() == 16", True),
        ("duration('1h') > duration('1m')", True),
        ("true", True),
    ],
)
def test_filters_see_data_and_event(expression: str, outcome: bool) -> None:
    assert result(expression) is outcome


@pytest.mark.parametrize(
    ("value", "expression", "outcome"),
    [
        (1, "data == 1", True),
        (1, "data == 1.0", True),
        (1.0, "data == 1", True),
        (1.5, "data > 1", True),
        (1, "data < 1.5", True),
        (2**63 - 1, "data == 9223372036854775807", True),
        (2**70, "data > 0", True),
        (True, "data == 1", False),
        ("1", "data == 1", False),
        (None, "data == 0", False),
    ],
)
def test_integers_and_doubles_compare_as_numbers(value: Any, expression: str, outcome: bool) -> None:
    assert result(expression, value) is outcome


@pytest.mark.parametrize(
    "expression",
    [
        "data.missing == 1",
        "data.items[7].price == 1",
        "data.ref > 1",
        "1 / (data.cents - 4200) == 1",
        "data.a.b.c == 1",
    ],
)
def test_what_cannot_be_computed_is_none(expression: str) -> None:
    assert result(expression) is None


@pytest.mark.parametrize("expression", ["data.ref", "data.cents", "1", "'true'", "data", "[true]", "null"])
def test_a_result_that_is_no_boolean_does_not_pass(expression: str) -> None:
    assert result(expression) is False


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "is no CEL expression: .*Syntax error"),
        ("data.ref = 'x'", "is no CEL expression: .*Syntax error"),
        ("data.ref == 'x", "is no CEL expression"),
        ("9223372036854775808 > 0", "is no CEL expression: .*invalid int literal"),
        ("payload.ref == 'x'", "nothing is called payload; a filter sees data and event"),
        ("has(data.x) && now > 3", "nothing is called now"),
        ("data.ref.startswith('x')", "nothing is called startswith"),
        ("has(data.x) && open('/etc/passwd') == zzz", "nothing is called open, zzz"),
        ("data.items.all(item, itm.price > 3)", "nothing is called itm"),
        ("timestamp('soon') > timestamp('2026-11-24T16:03:00Z')", "cannot work: Function 'timestamp' error"),
        ("matches('a', '[')", "cannot work"),
    ],
)
def test_a_filter_that_cannot_work_is_refused_when_saved(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        compile_filter(expression)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "bytes('a') == b'a'",
            "'ab'.contains('b')",
            "double(1) == 1.0",
            "duration('1h') == duration('60m')",
            "dyn(1) == 1",
        ),
        *("'ab'.endsWith('b')", "int(1.0) == 1", "'ab'.matches('a.')", "size('ab') == 2", "'ab'.startsWith('a')"),
        *(
            "string(1) == '1'",
            "type(1) == int",
            "uint(1) == 1u",
            "optional.of(1).hasValue()",
            "!optional.none().hasValue()",
        ),
        *(
            "optional.of(1).value() == 1",
            "optional.none().orValue(1) == 1",
            "optional.none().or(optional.of(1)).hasValue()",
        ),
        *(
            f"timestamp('2026-11-24T16:03:00Z').get{part}() == {value}"
            for part, value in {"FullYear": 2026, "Month": 10, "Date": 24, "DayOfMonth": 23, "DayOfWeek": 2}.items()
        ),
        *(
            f"timestamp('2026-11-24T16:03:00Z').get{part}() == {value}"
            for part, value in {"DayOfYear": 327, "Hours": 16, "Minutes": 3, "Seconds": 0, "Milliseconds": 0}.items()
        ),
    ],
)
def test_each_function_that_is_let_through_exists(expression: str) -> None:
    assert result(expression) is True
    assert {name for name in compile_filter(expression).functions() if name.isidentifier()} <= FUNCTIONS


@pytest.mark.parametrize("piece", ["(", "[", "!", "-", "{", "data.", "1+", "data[", "a?b:", "'"])
def test_deep_nesting_is_refused_or_works_but_ends_nothing(piece: str) -> None:
    assert refusal((piece * 4096)[:4000] + "true") != ""


@given(EXPRESSIONS, JSON)
def test_any_expression_works_or_is_a_value_error(expression: str, data: Any) -> None:
    assert refusal(expression) != ""
    assert result(expression, data) in (True, False, None)


@given(JSON)
def test_any_payload_gives_an_outcome(data: Any) -> None:
    for expression in ("data.ref == 'x'", "data > 1", "data[0].price < 3", "data.all(x, x == data)", "size(data) > 1"):
        assert result(expression, data) in (True, False, None)
