"""The CRI log format, line by line."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.crilog import MAX_LINE, LineFormatter, Timestamps

STAMP = b"2026-01-31T23:59:59.000000001+00:00"


def _entries(formatter: LineFormatter, *chunks: bytes, finish: bool = True) -> list[tuple[bytes, bytes]]:
    """Tag and text of what the chunks become, with an empty chunk for a pause in the output."""
    data = b""
    for chunk in chunks:
        pieces = formatter.feed(chunk, STAMP) if chunk else formatter.flush(STAMP)
        data += b"".join(pieces)
    if finish:
        data += b"".join(formatter.finish(STAMP))
    assert not data or data.endswith(b"\n")
    found = []
    for line in data.split(b"\n")[:-1]:
        stamp, stream, tag, text = line.split(b" ", 3)
        assert (stamp, stream) == (STAMP, b"stdout")
        found.append((tag, text))
    return found


def test_lines() -> None:
    assert _entries(LineFormatter("stdout"), b"a\n\nbb\n") == [(b"F", b"a"), (b"F", b""), (b"F", b"bb")]


def test_the_whole_line() -> None:
    assert b"".join(LineFormatter("stderr").feed(b"x y\n", STAMP)) == STAMP + b" stderr F x y\n"


def test_line_across_two_reads_is_one_entry() -> None:
    assert _entries(LineFormatter("stdout"), b"one\ntw", b"o\n") == [(b"F", b"one"), (b"F", b"two")]


def test_unfinished_line_is_partial_after_a_pause_and_ended_at_the_end() -> None:
    assert _entries(LineFormatter("stdout"), b"$ ", b"") == [(b"P", b"$ "), (b"F", b"")]
    assert _entries(LineFormatter("stdout"), b"$ ", b"", b"ls\n") == [(b"P", b"$ "), (b"F", b"ls")]
    assert _entries(LineFormatter("stdout"), b"$ ", b"", b"\n") == [(b"P", b"$ "), (b"F", b"")]


def test_last_line_without_newline_is_a_full_entry() -> None:
    assert _entries(LineFormatter("stdout"), b"end") == [(b"F", b"end")]


def test_nothing_is_nothing() -> None:
    formatter = LineFormatter("stdout")
    assert formatter.flush(STAMP) == []
    assert formatter.finish(STAMP) == []
    assert formatter.feed(b"x\n", STAMP) != []
    assert formatter.finish(STAMP) == []


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (MAX_LINE - 1, [MAX_LINE - 1]),
        (MAX_LINE, [MAX_LINE]),
        (MAX_LINE + 1, [MAX_LINE, 1]),
        (2 * MAX_LINE, [MAX_LINE, MAX_LINE]),
        (3 * MAX_LINE + 5, [MAX_LINE, MAX_LINE, MAX_LINE, 5]),
    ],
)
def test_long_lines_are_cut_at_16_kib(length: int, expected: list[int]) -> None:
    entries = _entries(LineFormatter("stdout"), b"before\n" + b"x" * length + b"\nafter\n")
    assert entries[0] == (b"F", b"before")
    assert entries[-1] == (b"F", b"after")
    assert [len(text) for _, text in entries[1:-1]] == expected
    assert [tag for tag, _ in entries[1:-1]] == [b"P"] * (len(expected) - 1) + [b"F"]


def test_what_is_held_is_bounded() -> None:
    formatter = LineFormatter("stdout")
    for _ in range(50):
        formatter.feed(b"x" * 5000, STAMP)
        assert len(formatter.held) <= MAX_LINE


@given(st.lists(st.binary(max_size=60).map(lambda data: data.replace(b"q", b"\n")), max_size=20), st.integers(1, 20))
def test_any_output_comes_back(chunks: list[bytes], max_line: int) -> None:
    entries = _entries(LineFormatter("stdout", max_line=max_line), *chunks)
    assert all(len(text) <= max_line for _, text in entries)
    text = b"".join(text + (b"\n" if tag == b"F" else b"") for tag, text in entries)
    original = b"".join(chunks)
    assert text == (original if not original or original.endswith(b"\n") else original + b"\n")


def test_timestamps_have_nanoseconds_and_the_local_offset() -> None:
    previous = os.environ.get("TZ")
    try:
        for zone, expected in (
            ("UTC", b"2026-11-22T03:04:14.000000009+00:00"),
            ("CET-1", b"2026-11-22T04:04:14.000000009+01:00"),
            ("NST3:30", b"2026-11-21T23:34:14.000000009-03:30"),
        ):
            os.environ["TZ"] = zone
            time.tzset()
            assert Timestamps().format(1_795_316_654 * 1_000_000_000 + 9) == expected
    finally:
        os.environ.pop("TZ")
        if previous is not None:
            os.environ["TZ"] = previous
        time.tzset()


def test_timestamps_follow_the_clock() -> None:
    stamps = Timestamps()
    first = stamps.format(1_795_316_654_999_999_999)
    assert stamps.format(1_795_316_655_000_000_000) > first
    assert stamps.format(1_795_316_654_999_999_999) == first
