"""One run of crioctl: global options, the verb, and how each kind of end looks to the shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from crio.base.errors import CrioError
from crio.cli.crioctl import catalog
from crio.cli.crioctl.arguments import Parser, seconds
from crio.cli.crioctl.settings import DEFAULT_CONFIG, DEFAULT_ENDPOINT, resolve

INTERRUPTED = 130


def global_parser() -> argparse.ArgumentParser:
    """The options before the verb."""
    parser = Parser(prog="crioctl", description="Client for the Container Runtime Interface (CRI).")
    parser.usage = "crioctl [option ...] command [argument ...]"
    parser.add_argument(
        "-r",
        "--runtime-endpoint",
        metavar="URL",
        help=f"the runtime's socket [$CONTAINER_RUNTIME_ENDPOINT] (default: {DEFAULT_ENDPOINT})",
    )
    parser.add_argument(
        "-i",
        "--image-endpoint",
        metavar="URL",
        help="the image service's socket [$IMAGE_SERVICE_ENDPOINT] (default: the runtime's)",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help=f"configuration file [$CRI_CONFIG_FILE] (default: {DEFAULT_CONFIG})"
    )
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="TIME",
        type=seconds,
        help="limit of connecting, and if given of each call, e.g. 10s (default: 2s, no limit)",
    )
    parser.add_argument("-D", "--debug", action="store_true", help="show the messages sent and received")
    parser.add_argument(
        "--max-retries", metavar="N", type=int, help="repeat a failed connection up to N times, -1 for ever"
    )
    parser.add_argument("-v", "--version", action="version", version="", help="show the version and exit")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except CrioError as error:
        return _fail(error.message)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain about it once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _fail(f"cannot go on: {error}")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0


def _fail(message: str) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        pass
    print(f"crioctl: {message}", file=sys.stderr)
    return 1


def _run(arguments: list[str]) -> int:
    before, name, rest = split(arguments)
    if "-v" in before or "--version" in before:
        from crio import __version__

        print(f"crioctl version {__version__}")
        return 0
    if "-h" in before or "--help" in before or name in ("", "help", "h"):
        return _help(rest[:1] if name in ("help", "h") else [])
    flags = global_parser().parse_args([*before, name])
    entry = catalog.find(name)
    if entry is None:
        return _fail(_unknown(name))
    settings = resolve(flags, os.environ)
    from crio.cli.late_modules import load_rarely_used_late  # lazy: help has no need of it, nor of what comes now

    load_rarely_used_late()
    command = catalog.load(entry)
    return command.run(settings, catalog.parser_for(entry, command).parse_args(rest))


def split(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The global options, the verb ("" if there is none), and what follows it."""
    takes_value = {
        "-r",
        "-i",
        "-c",
        "-t",
        "--runtime-endpoint",
        "--image-endpoint",
        "--config",
        "--timeout",
        "--max-retries",
    }
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        position += 2 if arguments[position] in takes_value else 1
    position = min(position, len(arguments))
    name = arguments[position] if position < len(arguments) else ""
    return list(arguments[:position]), name, list(arguments[position + 1 :])


def _help(verbs: Sequence[str]) -> int:
    for verb in verbs:
        entry = catalog.find(verb)
        if entry is None:
            return _fail(_unknown(verb))
        catalog.parser_for(entry, catalog.load(entry)).print_help()
        return 0
    global_parser().print_help()
    for title, group in catalog.SECTIONS:
        print(f"\n{title}:")
        for entry in group:
            names = ", ".join((entry.name, *entry.aliases))
            print(f"  {names:<23} {entry.summary}")
    print(
        "\n`crioctl help COMMAND` tells the options of a command. Ids may be shortened, and names work wherever ids do."
    )
    return 0


def _unknown(name: str) -> str:
    import difflib  # lazy: only for mistakes

    names = [each for entry in catalog.entries() for each in (entry.name, *entry.aliases)]
    near = difflib.get_close_matches(name, names, 1)
    return f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; see `crioctl --help`")
