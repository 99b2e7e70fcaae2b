"""The demonstration on a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from crio.cli.crioctl.units import human_size
from crio.cli.demo.display import Step, duration_text

_TITLE_WIDTH = 34


class RichDisplay:
    """A spinner with a clock for the step that runs, a tick and its time for those that are done."""

    def __init__(self, console: Console | None = None) -> None:
        self.steps: list[Step] = []
        self._console = console or Console(highlight=False)
        self._running: _Running | None = None

    def title(self, text: str, facts: Sequence[tuple[str, str]]) -> None:
        grid = Table.grid(padding=(0, 2))
        for name, value in facts:
            grid.add_row(Text(name, style="dim"), Text(value))
        self._console.print(Panel(grid, title=f"[bold]{escape(text)}[/]", border_style="cyan", expand=False))
        self._console.print()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        running = _Running(title)
        self._running = running
        try:
            with Live(running, console=self._console, refresh_per_second=12, transient=True):
                yield step
        except BaseException:
            self._console.print(Text.assemble(("✘ ", "bold red"), (title, "red")))
            raise
        finally:
            self._running = None
        step.seconds = time.perf_counter() - running.begin
        self.steps.append(step)
        self._console.print(
            Text.assemble(
                ("✔ ", "bold green"),
                f"{title:<{_TITLE_WIDTH}}",
                (f"{duration_text(step.seconds):>9}  ", "cyan"),
                (step.result, "default"),
            )
        )

    def line(self, text: str) -> None:
        self._console.print(Text.assemble(("  │ ", "cyan"), (text, "dim")))

    def progress(self, done: int, total: int, what: str) -> None:
        if self._running is not None:
            self._running.done, self._running.total, self._running.what = done, total, what

    def closing(self, facts: Sequence[tuple[str, str]]) -> None:
        timed = [step for step in self.steps if step.timed]
        longest = max((step.seconds for step in timed), default=0.0)
        table = Table(box=None, padding=(0, 2), header_style="bold", show_edge=False)
        table.add_column("step")
        table.add_column("time", justify="right")
        table.add_column("", width=32)
        for step in timed:
            table.add_row(
                step.title,
                Text(duration_text(step.seconds), style="cyan"),
                Bar(longest, 0, step.seconds, width=32, color="cyan"),
            )
        grid = Table.grid(padding=(0, 2))
        for name, value in facts:
            grid.add_row(Text(name, style="dim"), Text(value))
        self._console.print()
        self._console.print(
            Panel(Group(table, Text(""), grid), title="[bold]What it took[/]", border_style="green", expand=False)
        )

    def failed(self, message: str, log: Sequence[str]) -> None:
        self._console.print()
        body: list[RenderableType] = [Text(message, style="bold")]
        if log:
            body += [Text(""), Text("The end of the daemon's log:", style="dim"), *(Text(line) for line in log)]
        self._console.print(Panel(Group(*body), title="[bold red]The demonstration failed[/]", border_style="red"))


class _Running:
    """The moving line of the present step."""

    def __init__(self, title: str) -> None:
        self.begin = time.perf_counter()
        self.done = self.total = 0
        self.what = ""
        self._spinner = Spinner("dots", style="cyan")
        self._title = title

    def __rich__(self) -> RenderableType:
        row: list[RenderableType] = [
            self._spinner,
            Text(f"{self._title:<{_TITLE_WIDTH}}"),
            Text(f"{duration_text(time.perf_counter() - self.begin):>9} ", style="cyan"),
        ]
        if self.total:
            row += [
                ProgressBar(total=self.total, completed=self.done, width=24),
                Text(f" {human_size(self.done, 3)} of {human_size(self.total, 3)} {self.what}", style="dim"),
            ]
        grid = Table.grid()
        grid.add_row(*row)
        return grid
