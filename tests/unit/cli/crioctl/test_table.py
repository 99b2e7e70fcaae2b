from __future__ import annotations

from crio.cli.crioctl.table import lines


def test_columns_have_crictls_widths() -> None:
    rows = [["A", "B", "C"], ["x" * 18, "short", "the last one is as long as it wants to be"]]
    assert lines(rows) == [
        "A" + " " * 20 + "B" + " " * 19 + "C",
        "x" * 18 + "   " + "short" + " " * 15 + "the last one is as long as it wants to be",
    ]


def test_minimum() -> None:
    assert lines([["cgroup driver:", "CGROUPFS"]], minimum=10) == ["cgroup driver:   CGROUPFS"]


def test_nothing() -> None:
    assert lines([]) == []


def test_control_characters() -> None:
    assert lines([["a\tb\x1b", "c\r\n"]]) == ["a?b?" + " " * 16 + "c??"]
