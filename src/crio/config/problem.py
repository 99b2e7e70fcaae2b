"""What is wrong in a configuration: collected to the end, so that a person sees all of it at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crio.base.errors import InvalidArgument


class Source(msgspec.Struct, frozen=True):
    """Where a value comes from: a file and perhaps a line, a variable, a flag, or a default."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


class Problem(msgspec.Struct, frozen=True):
    """One sentence about one place."""

    source: Source
    text: str
    unknown_key: bool = False

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


class ConfigError(InvalidArgument):
    """The configuration cannot be used. `problems` has one entry for each reason; `warnings` come on top."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        lines = [str(problem) for problem in problems]
        head = f"cannot use the configuration: {lines[0]}"
        super().__init__(head if len(lines) == 1 else "cannot use the configuration:\n  " + "\n  ".join(lines))
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
