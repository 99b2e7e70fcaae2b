"""How the demonstration looks: coloured with moving parts on a terminal, one plain line for each fact elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crio.cli.crioctl.units import human_size


@dataclass(slots=True)
class Step:
    """One step as the closing table shows it."""

    title: str
    seconds: float = 0.0
    result: str = ""
    timed: bool = True


class Display(Protocol):
    """Where the story is told."""

    steps: list[Step]

    def title(self, text: str, facts: Sequence[tuple[str, str]]) -> None:
        """The opening, with what was found on the machine."""

    def step(self, title: str) -> contextlib.AbstractContextManager[Step]:
        """A step while it runs; the block sets its `result`. An exception marks it as failed and goes on."""

    def line(self, text: str) -> None:
        """Something that happens within the step, such as a line of a log."""

    def progress(self, done: int, total: int, what: str) -> None:
        """How far the step has come, in bytes."""

    def closing(self, facts: Sequence[tuple[str, str]]) -> None:
        """The table of all steps, and what else is worth knowing."""

    def failed(self, message: str, log: Sequence[str]) -> None:
        """The error that ended the story, and the end of the daemon's log."""


def choose(*, plain: bool = False) -> Display:
    """The display for this stdout."""
    if plain or not sys.stdout.isatty():
        return PlainDisplay()
    from crio.cli.demo.rich_display import RichDisplay  # lazy: rich is for terminals only

    return RichDisplay()


def duration_text(seconds: float) -> str:
    """`4.2 ms`, `180 ms`, `1.25 s`."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


class PlainDisplay:
    """For files, pipes and dumb terminals."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._progress_told = ""

    def title(self, text: str, facts: Sequence[tuple[str, str]]) -> None:
        print(text)
        for name, value in facts:
            print(f"  {name}: {value}")
        sys.stdout.flush()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        begin = time.perf_counter()
        try:
            yield step
        except BaseException:
            print(f"FAILED  {title}", flush=True)
            raise
        step.seconds = time.perf_counter() - begin
        self.steps.append(step)
        print(f"ok  {title} ({duration_text(step.seconds)}){': ' + step.result if step.result else ''}", flush=True)

    def line(self, text: str) -> None:
        print(f"      {text}", flush=True)

    def progress(self, done: int, total: int, what: str) -> None:
        if total and done >= total and what != self._progress_told:
            self._progress_told = what
            print(f"      {what} {human_size(total, 3)}", flush=True)

    def closing(self, facts: Sequence[tuple[str, str]]) -> None:
        print()
        width = max(len(step.title) for step in self.steps)
        for step in self.steps:
            if step.timed:
                print(f"{step.title:<{width}}  {duration_text(step.seconds):>9}")
        for name, value in facts:
            print(f"{name}: {value}")
        sys.stdout.flush()

    def failed(self, message: str, log: Sequence[str]) -> None:
        print(f"\nThe demonstration failed: {message}")
        if log:
            print("The end of the daemon's log:")
            print("\n".join(f"  {line}" for line in log))
        sys.stdout.flush()
