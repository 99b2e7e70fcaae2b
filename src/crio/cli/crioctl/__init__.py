"""crioctl: the command-line client of the daemon, with crictl's verbs, flags, files and output.

`main` is the console script. `catalog` lists the verbs and `commands/` holds one file for each; `program` reads the
global options, picks the verb and turns errors into one sentence and an exit code. A command talks to the daemon only
through `session`. Nothing here is imported by the daemon, and a verb's imports are made only when it runs: `crioctl
--help` costs little more than the interpreter's own start.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for an error, or that of the program run in a container."""
    from crio.cli.crioctl.program import run  # lazy: the console script's wrapper imports this package first

    return run(argv)
