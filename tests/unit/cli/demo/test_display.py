from __future__ import annotations

import io

import pytest
from rich.console import Console

from crio.cli.demo.display import Display, PlainDisplay, choose, duration_text
from crio.cli.demo.rich_display import RichDisplay


def story(display: Display) -> None:
    display.title("A title", [("machine", "fast [bold]")])
    with display.step("first step") as step:
        display.line("a line of a log")
        display.progress(5, 10, "unpacked")
        display.progress(10, 10, "unpacked")
        display.progress(10, 10, "unpacked")
        step.result = "[done]"
    with display.step("not timed") as step:
        step.timed = False
    display.closing([("left behind", "nothing")])


def test_plain(capsys: pytest.CaptureFixture[str]) -> None:
    display = PlainDisplay()
    story(display)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["A title", "  machine: fast [bold]", "      a line of a log", "      unpacked 10B"]
    assert lines[4].startswith("ok  first step (")
    assert lines[4].endswith("): [done]")
    assert lines[7].startswith("first step  ")
    assert lines[8] == "left behind: nothing"
    assert [step.title for step in display.steps] == ["first step", "not timed"]


def test_rich() -> None:
    out = io.StringIO()
    story(RichDisplay(Console(file=out, width=100, force_terminal=False, highlight=False)))
    text = out.getvalue()
    for part in ("A title", "fast [bold]", "│ a line of a log", "✔ first step", "[done]", "What it took", "nothing"):
        assert part in text
    assert text.count("not timed") == 1


def test_a_failed_step(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    for display in (PlainDisplay(), RichDisplay(Console(file=out, width=100))):
        with pytest.raises(ValueError, match="broken"), display.step("a step"):
            raise ValueError("broken")
        assert display.steps == []
        display.failed("it broke", ["last [words]"])
    plain = capsys.readouterr().out
    for text in (plain, out.getvalue()):
        assert "a step" in text
        assert "it broke" in text
        assert "last [words]" in text


def test_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(choose(), PlainDisplay)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00123, "1.2 ms"), (0.0456, "46 ms"), (0.999, "999 ms"), (1.5, "1.50 s"), (61, "61.00 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
