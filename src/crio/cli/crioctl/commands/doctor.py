"""crioctl doctor"""

from __future__ import annotations

import argparse
import sys

from crio.cli.crioctl.settings import DEFAULT_ENDPOINT, Settings

_COLORS = {"ok": "32", "warning": "33", "error": "31"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Examines this machine and the daemon on it, and says what is wrong and how to mend it. The exit code is 1 if "
        "something keeps pods from running; with warnings alone it is 0."
    )
    parser.add_argument("--crio-config", metavar="FILE", default="", help="the daemon's configuration file")
    parser.add_argument("--crio-config-dir", metavar="DIR", default="", help="the directory of its drop-ins")
    parser.add_argument("--offline", action="store_true", help="do not try to reach registries")
    parser.add_argument("-q", "--quiet", action="store_true", help="only what is not in order")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form (default: table)")


def run(settings: Settings, args: argparse.Namespace) -> int:
    from crio.cli.doctor.examination import diagnose  # lazy: it is the daemon's rooms that know what to look for
    from crio.cli.doctor.finding import Finding, Level

    endpoint = settings.runtime_endpoint
    socket = "" if endpoint == DEFAULT_ENDPOINT else endpoint.removeprefix("unix://")
    found: list[Finding] = []
    for finding in diagnose(socket, args.crio_config, args.crio_config_dir, offline=args.offline):
        if args.quiet and finding.level is Level.OK:
            continue
        found.append(finding)
        if args.output == "table":
            show(finding.level, finding.subject, finding.text, finding.remedy)
    if args.output == "json":
        import json  # lazy: only for -o json

        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        counts = [sum(finding.level is level for finding in found) for level in (Level.ERROR, Level.WARNING)]
        words = (
            f"{count} {word}{'' if count == 1 else 's'}"
            for count, word in zip(counts, ("error", "warning"), strict=True)
        )
        print(f"\n{', '.join(words)}")
    return 1 if any(finding.level is Level.ERROR for finding in found) else 0


def show(level: str, subject: str, text: str, remedy: str) -> None:
    """One finding, as soon as it is there."""
    word = f"{level:<8}"
    if sys.stdout.isatty():
        word = f"\x1b[{_COLORS[level]}m{word}\x1b[0m"
    print(f"{word} {subject:<14} {text}")
    if remedy:
        print(f"{'':<24}→ {remedy}")
    sys.stdout.flush()
