"""The `crio` program: the daemon and its administration.

Imports are late on purpose: `crio --version` is called by installers and probes and must answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit code: 0, 1 for a failure, 2 for bad usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-v"], ["version"]):
        from crio.cli.crio_commands.version_facts import print_text

        print_text(verbose=False)
        return 0
    from crio.cli.late_modules import load_rarely_used_late

    load_rarely_used_late()
    from crio.base.errors import CrioError
    from crio.cli.crio_commands.parser import UsageError

    try:
        return _run(given)
    except UsageError as error:
        command = " ".join(step.name for step in error.path)
        print(f"{command}: {error.message}\nSee `{command} --help`.", file=sys.stderr)
        return 2
    except CrioError as error:
        print(f"crio: {error.message}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"crio: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(given: Sequence[str]) -> int:
    import importlib

    from crio.cli.crio_commands.parser import UsageError, parse
    from crio.cli.crio_commands.table import PROGRAM

    call = parse(given, PROGRAM)
    if any(flags.get("help") for flags in call.flags):
        from crio.cli.crio_commands.help import help_text

        print(help_text(call.path), end="")
        return 0
    if call.global_flags.get("version"):
        from crio.cli.crio_commands.version_facts import print_text

        print_text(verbose=False)
        return 0
    command = call.path[-1]
    if not command.module:
        raise UsageError("name a command: " + ", ".join(inner.name for inner in command.shown), call.path)
    module = importlib.import_module(f"crio.cli.crio_commands.{command.module}")
    code: int = module.run(call)
    return code


if __name__ == "__main__":
    sys.exit(main())
