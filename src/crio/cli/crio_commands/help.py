"""`crio help` and --help."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from crio.cli.crio_commands.command import Call, Command, Flag
from crio.cli.crio_commands.parser import HELP, UsageError
from crio.cli.crio_commands.table import PROGRAM


def run(call: Call) -> int:
    path = [PROGRAM]
    for name in call.arguments:
        inner = path[-1].named(name)
        if inner is None:
            raise UsageError(f'there is no command "{name}"', path)
        path.append(inner)
    print(help_text(path), end="")
    return 0


def help_text(path: Sequence[Command], width: int | None = None) -> str:
    """The help of the last command of `path`."""
    columns = min(width or shutil.get_terminal_size().columns, 110)
    return "".join(f"{line}\n" for line in _lines(path, columns))


def usage(path: Sequence[Command]) -> str:
    """One line: how the last command of `path` is called."""
    command = path[-1]
    parts = [" ".join(step.name for step in path), "[flags]"]
    if command.shown:
        parts.append("[command]" if command.module else "COMMAND")
    if command.arguments:
        parts.append(command.arguments)
    return " ".join(parts)


def visible_flags(command: Command) -> list[Flag]:
    return [*(flag for flag in command.flags() if not flag.hidden), HELP]


def flag_names(flag: Flag) -> str:
    """ "-c, --config FILE" """
    dashed = [f"-{name}" if len(name) == 1 else f"--{name}" for name in (*flag.aliases, flag.name)]
    return ", ".join(dashed) + (f" {flag.value.upper().replace(' ', '-')}" if flag.value else "")


def flag_facts(flag: Flag) -> str:
    """What follows a flag's text: its values, default and variable."""
    facts = []
    if flag.choices:
        facts.append("one of: " + ", ".join(choice for choice in flag.choices if choice))
    if flag.default and flag.default not in ("false", "[]"):
        facts.append(f"default: {flag.default}")
    if flag.env:
        facts.append(f"variable: {flag.env}")
    return f" ({'; '.join(facts)})" if facts else ""


def _lines(path: Sequence[Command], width: int) -> Iterator[str]:
    command = path[-1]
    yield f"{' '.join(step.name for step in path)}: {command.text}"
    yield ""
    yield f"Usage: {usage(path)}"
    if command.description:
        yield ""
        yield textwrap.fill(command.description, width)
    if command.shown:
        yield ""
        yield "Commands:"
        for inner in command.shown:
            names = ", ".join((inner.name, *inner.aliases))
            yield f"  {names:32}{inner.text}"
    yield ""
    yield "Flags:"
    for flag in visible_flags(command):
        yield f"  {flag_names(flag)}"
        text = flag.text + flag_facts(flag)
        yield textwrap.fill(text, width, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False)
