"""A command line against the table of commands.

The rules are those of CRI-O's command line: one or two dashes before a name, a value after "=" or as the next
argument, global flags before the command and a command's own after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from crio.base.errors import InvalidArgument
from crio.cli.crio_commands.command import Call, Command, Flag, FlagValues

_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


class UsageError(InvalidArgument):
    """The command line cannot be understood. `path` is how far it was."""

    def __init__(self, message: str, path: Sequence[Command]) -> None:
        super().__init__(message)
        self.path = tuple(path)


HELP = Flag("help", "Show this help.", aliases=("h",))


def parse(arguments: Sequence[str], program: Command) -> Call:
    """Understand `arguments` (without the program's name). Raises UsageError."""
    path, flags, rest = [program], [], list(arguments)
    while True:
        values, rest = _flags(rest, path)
        flags.append(values)
        command = path[-1]
        inner = command.named(rest[0]) if rest else None
        if inner is None:
            break
        path.append(inner)
        rest = rest[1:]
    if rest and not command.arguments:
        raise UsageError(f'unknown command or argument "{rest[0]}"{_nearest(rest[0], command)}', path)
    return Call(tuple(path), tuple(flags), tuple(rest))


def _flags(arguments: list[str], path: Sequence[Command]) -> tuple[FlagValues, list[str]]:
    """The flags at the front, and what follows them. A command with arguments also takes flags after those."""
    known = {name: flag for flag in (*path[-1].flags(), HELP) for name in (flag.name, *flag.aliases)}
    values: dict[str, str | bool | list[str]] = {}
    positional: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest[0]
        if argument == "--":
            return values, positional + rest[1:]
        if not argument.startswith("-") or argument == "-":
            if not path[-1].arguments or path[-1].named(argument):
                break
            positional.append(rest.pop(0))
            continue
        rest.pop(0)
        name, has_value, text = argument.removeprefix("-").removeprefix("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise UsageError(f"unknown flag {argument.partition('=')[0]}{_nearest_flag(name, known)}", path)
        _store(values, flag, bool(has_value), text, rest, path)
    return values, positional + rest


def _store(
    values: dict[str, str | bool | list[str]],
    flag: Flag,
    has_value: bool,
    text: str,
    rest: list[str],
    path: Sequence[Command],
) -> None:
    if not flag.value:
        if has_value and text.lower() not in _TRUE + _FALSE:
            raise UsageError(f'--{flag.name} must be true or false, but is "{text}"', path)
        values[flag.name] = not has_value or text.lower() in _TRUE
        return
    if not has_value:
        if not rest:
            raise UsageError(f"--{flag.name} needs a value: {flag.value}", path)
        text = rest.pop(0)
    if flag.choices:
        text = _chosen(flag, text, path)
    if flag.repeated:
        known = values.setdefault(flag.name, [])
        assert isinstance(known, list)
        known.append(text)
    else:
        values[flag.name] = text


def _chosen(flag: Flag, text: str, path: Sequence[Command]) -> str:
    from crio.config.key import find_choice

    if (choice := find_choice(flag.choices, text)) is not None:
        return choice
    raise UsageError(f'--{flag.name} must be one of {", ".join(c for c in flag.choices if c)}, not "{text}"', path)


def _nearest(word: str, command: Command) -> str:
    import difflib

    near = difflib.get_close_matches(word, [inner.name for inner in command.shown], 1)
    return f"; the nearest is {near[0]}" if near else ""


def _nearest_flag(word: str, known: dict[str, Flag]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, 1)
    return f"; the nearest is --{near[0]}" if near else ""
