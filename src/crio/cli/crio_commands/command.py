"""What a command and a flag are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

FlagValues = Mapping[str, "str | bool | list[str]"]


class Flag(NamedTuple):
    """One flag. The value of a boolean one is given with "=" only, so that it never takes the next argument."""

    name: str
    text: str
    aliases: tuple[str, ...] = ()
    value: str = ""
    """What kind of value it takes, for people; empty: it is boolean."""
    default: str = ""
    env: str = ""
    repeated: bool = False
    """It may be given more than once; its value is then a list."""
    file: bool = False
    choices: tuple[str, ...] = ()
    hidden: bool = False


class Command(NamedTuple):
    """One command. Without a `module`, one of its `commands` has to be named."""

    name: str
    text: str
    """One line."""
    module: str = ""
    """Module in crio.cli.crio_commands whose `run` does the work."""
    aliases: tuple[str, ...] = ()
    description: str = ""
    flags: Callable[[], Sequence[Flag]] = tuple
    commands: tuple[Command, ...] = ()
    arguments: str = ""
    """Its positional arguments, for people; empty: it takes none."""
    words: tuple[str, ...] = ()
    """What completion offers for them."""
    file_arguments: bool = False
    hidden: bool = False
    """It is called by programs, and left out of help, manuals and completions."""

    @property
    def shown(self) -> tuple[Command, ...]:
        """The sub-commands for people."""
        return tuple(command for command in self.commands if not command.hidden)

    def named(self, name: str) -> Command | None:
        """The sub-command of this name or alias."""
        return next((command for command in self.commands if name in (command.name, *command.aliases)), None)


class Call(NamedTuple):
    """A command line that has been understood."""

    path: tuple[Command, ...]
    """The program's command, then the sub-command, and so on."""
    flags: tuple[FlagValues, ...]
    """The flags that were given at each step of the path, by their full names."""
    arguments: tuple[str, ...]

    @property
    def global_flags(self) -> FlagValues:
        return self.flags[0]

    @property
    def own_flags(self) -> FlagValues:
        return self.flags[-1]

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag of the last command."""
        value = self.own_flags.get(name, default)
        return value if isinstance(value, str) else default

    def switch(self, name: str) -> bool:
        """Whether a boolean flag of the last command was given."""
        return self.own_flags.get(name) is True
