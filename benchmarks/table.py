"""The tables on a terminal, and as Markdown."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.results import PROJECT, Figure, Results, Table


def show(console: Console, results: Results) -> None:
    """All tables, with median, spread and ratio."""
    for table in results.tables:
        console.print(_rich(table))
        for note in table.notes:
            console.print(f"[dim]  {note}[/dim]")
        console.print()


def _rich(table: Table) -> RichTable:
    rich = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    rich.add_column("")
    for name in table.contestants:
        rich.add_column(name, justify="right", style="bold" if name == PROJECT else "")
    rich.add_column("target")
    for figure in table.figures.values():
        cells = [_cell(figure, name) for name in table.contestants]
        mark = {True: "[green]✓[/green] ", False: "[red]✗[/red] ", None: ""}[figure.reached]
        rich.add_row(f"{figure.name} [dim]{figure.unit}[/dim]", *cells, mark + figure.goal)
    return rich


def _cell(figure: Figure, name: str) -> str:
    values = figure.samples.get(name)
    median = figure.median(name)
    if not values or median is None:
        return "[dim]-[/dim]"
    text = number(median)
    if len(values) > 1:
        text += f" [dim]{number(min(values))}-{number(max(values))}[/dim]"
    ratio = figure.ratio(name)
    if name != PROJECT and ratio is not None:
        text += f" [{'green' if ratio >= 1 else 'red'}]x{ratio:.2f}[/]"
    return text


def number(value: float) -> str:
    """With three significant digits, and not fewer than the whole ones."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(results: Results) -> str:
    """As `show`, for a document: median (min-max), and after it how many times better the project is."""
    lines: list[str] = []
    for table in results.tables:
        names = list(table.contestants)
        lines += [f"### {table.title}", "", f"| | {' | '.join(names)} | target |"]
        lines.append("|---|" + "---:|" * len(names) + "---|")
        for figure in table.figures.values():
            cells = [_markdown_cell(figure, name) for name in names]
            mark = {True: "reached: ", False: "**missed**: ", None: ""}[figure.reached]
            lines.append(f"| {figure.name}, {figure.unit} | {' | '.join(cells)} | {mark}{figure.goal} |")
        lines += ["", *(f"{note[0].upper()}{note[1:]}.\n" for note in table.notes)]
    return "\n".join(lines)


def _markdown_cell(figure: Figure, name: str) -> str:
    values = figure.samples.get(name)
    median = figure.median(name)
    if not values or median is None:
        return ""
    text = f"**{number(median)}**" if name == PROJECT else number(median)
    if len(values) > 1:
        text += f" ({number(min(values))}-{number(max(values))})"
    ratio = figure.ratio(name)
    return text + (f", x{ratio:.2f}" if name != PROJECT and ratio is not None else "")
