from __future__ import annotations

from typing import Any

from crio.cli.crioctl.waterfall import draw

MS = 1_000_000


def span(name: str, start: int, end: int, *, id: str = "", parent: str = "", error: str = "") -> dict[str, Any]:
    """Times in milliseconds."""
    return {
        "id": id or name,
        "parent": parent,
        "name": name,
        "start_ns": start * MS,
        "end_ns": end * MS,
        "error": error,
        "attributes": {"pod_name": "web", "namespace": "shop"},
    }


TRACE = [
    span("/runtime.v1.RuntimeService/RunPodSandbox", 0, 100, id="root", parent="kubelet"),
    span("RunPodSandbox: pod network", 10, 90, parent="root"),
    span("CNI ADD bridge", 20, 60, parent="root", error="it\nfailed"),
    span("RunPodSandbox: files", 95, 100, parent="root"),
]


def test_parts_are_below_what_they_are_part_of() -> None:
    title, *lines = draw(TRACE, 100)
    assert "RunPodSandbox  web shop  100.0 ms" in title
    assert lines[0].startswith("RunPodSandbox")
    indents = [len(line) - len(line.lstrip()) for line in lines]
    # The plug-in has the call as its parent, but ran within the stage.
    assert indents == [0, 2, 4, 2]
    # A stage below its call is not named after it once more.
    assert [line.split("  ")[0].strip() for line in (lines[0].lstrip(), lines[3].lstrip())] == [
        "RunPodSandbox",
        "files",
    ]


def test_bars_have_place_and_length_of_the_time() -> None:
    _, root, network, plugin, files = draw(TRACE, 100)
    column = root.index("█")
    width = root.count("█")
    assert root.rstrip().endswith("█")
    assert network.index("█") - column == width // 10
    assert network.count("█") == width * 8 // 10
    assert plugin.count("█") == width * 4 // 10
    assert files.index("█") - column == int(width * 0.95)


def test_a_failure_is_told_in_one_line() -> None:
    lines = list(draw(TRACE, 100))
    assert [line for line in lines if "✗" in line] == [lines[3]]
    assert lines[3].endswith("✗ it failed")


def test_what_is_very_short_is_still_seen() -> None:
    lines = list(draw([span("long", 0, 10_000), span("short", 5000, 5000, parent="long")], 40))
    assert "▏" in lines[2]
    assert "10.0 s" in lines[1]


def test_nothing_is_nothing() -> None:
    assert list(draw([], 80)) == []
