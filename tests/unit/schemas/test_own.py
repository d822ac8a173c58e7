"""Own records: what was written is read, what is garbage is told as such, and a newer format ends the process."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certes.command import Command, Route, Verdict
from certes.delivery import Outcome
from certes.errors import Fatal, TooLarge
from certes.event import Problem, SchemaRef
from schemas.own import MAX_OUTCOMES_BYTES, OwnCodec, encode_command, encode_outcomes

CODEC = OwnCodec()
text = st.text(max_size=20)
number = st.integers(0, 2**31 - 1)
outcomes = st.builds(
    Outcome,
    event=text,
    subscription=text,
    epoch=number,
    attempt=number,
    state=st.sampled_from(["pending", "waiting", "delivered", "exhausted", "cancelled", "expired"]),
    at=st.integers(0, 2**50),
    duration_ms=number,
    due=st.integers(0, 2**50),
    status=st.none() | number,
    error=st.none() | text,
    response=text,
    trace=text,
)
routes = st.builds(
    Route,
    subscription=text,
    priority=st.integers(0, 9),
    ordered=st.booleans(),
    policy=st.none()
    | st.dictionaries(text, st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    rule=st.tuples(text, text),
)
verdicts = st.builds(
    Verdict,
    uri=st.none() | text,
    schema=st.none() | st.builds(SchemaRef, number, st.none() | text),
    errors=st.lists(st.builds(Problem, text, text), max_size=2).map(tuple),
    routes=st.lists(routes, max_size=2).map(tuple),
)
commands = st.builds(
    Command,
    action=st.sampled_from(["retry", "cancel", "resume"]),
    event=text,
    at=st.integers(0, 2**50),
    subscription=st.none() | text,
    actor=text,
    trace=text,
    verdict=st.none() | verdicts,
)


@given(st.lists(outcomes, max_size=5))
def test_outcomes_are_read_as_they_were_written(some):
    (value,) = encode_outcomes(some)
    assert list(CODEC.outcomes(value)) == some


@given(commands)
def test_a_command_is_read_as_it_was_written(command):
    # JSON has one kind of number, so a policy's 1.0 may come back as 1.
    assert CODEC.command(encode_command(command)) == command


def mutations(good):
    def changed(edits):
        raw = bytearray(good)
        for place, byte, cut in edits:
            if cut:
                del raw[place % (len(raw) + 1) :]
            elif raw:
                raw[place % len(raw)] = byte
        return bytes(raw)

    edit = st.tuples(st.integers(0, 1_000), st.integers(0, 255), st.sampled_from([False, False, False, True]))
    return st.lists(edit, min_size=1, max_size=4).map(changed)


GOOD = [
    encode_outcomes([Outcome("evt_1", "sub_1", 1, 1, "waiting", 5, 6, 7, 500, "no", "body", "ec.1")] * 3)[0],
    encode_command(Command("resume", "evt_1", 5, "sub_1", "me", "api.1", Verdict(routes=(Route("sub_1", 4),)))),
]


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=50), st.binary(max_size=50).map(lambda raw: b"\x02" + raw), *map(mutations, GOOD)))
def test_garbage_is_a_value_error_or_a_newer_format_and_nothing_else(raw):
    for read in (CODEC.outcomes, CODEC.command):
        with suppress(ValueError, Fatal):
            read(raw)


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\x02\x06evt", GOOD[0][:-3], GOOD[1].replace(b"resume", b"explod")])
def test_such_records_are_unreadable(raw):
    for read in (CODEC.outcomes, CODEC.command):
        with pytest.raises(ValueError):
            read(raw)


@pytest.mark.parametrize("version", [b"\x04", b"\x80\x01"])  # 2 and 64 in zig-zag
@pytest.mark.parametrize("good", GOOD)
def test_a_newer_format_ends_the_process_and_says_why(version, good):
    read = CODEC.outcomes if good == GOOD[0] else CODEC.command
    read(good)
    with pytest.raises(Fatal, match="upgrade this process"):
        read(version + good[1:])


def test_an_older_format_is_read():
    assert CODEC.command(b"\x00" + GOOD[1][1:]) == CODEC.command(GOOD[1])


def test_many_outcomes_are_split_below_the_limit_in_order():
    some = [Outcome(f"evt_{number}", "sub_1", 1, 1, "delivered", 5, 6, response="x" * 4_000) for number in range(500)]
    values = encode_outcomes(some)
    assert len(values) > 3
    assert all(len(value) <= MAX_OUTCOMES_BYTES for value in values)
    assert [one for value in values for one in CODEC.outcomes(value)] == some


def test_one_outcome_over_the_limit_is_refused():
    with pytest.raises(TooLarge, match="bytes"):
        encode_outcomes([Outcome("evt_1", "sub_1", 1, 1, "delivered", 5, 6, response="x" * MAX_OUTCOMES_BYTES)])


def test_a_verdict_that_is_no_verdict_is_unreadable():
    broken = encode_command(Command("resume", "evt_1", 5, verdict=msgspec.Raw(b'{"routes": 7}')))
    with pytest.raises(ValueError):
        CODEC.command(broken)
