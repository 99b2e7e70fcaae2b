"""crioctl trace"""

from __future__ import annotations

import argparse
import json
import shutil

from crio.base.errors import NotFound
from crio.cli.crio_commands.inspect_client import get
from crio.cli.crioctl.settings import Settings
from crio.cli.crioctl.waterfall import draw


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="POD", help="a pod, container or image, by its id or name or how it begins")
    parser.add_argument("-n", "--last", metavar="N", type=int, default=0, help="only the N most recent calls")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form (default: table)")


def run(settings: Settings, args: argparse.Namespace) -> int:
    from urllib.parse import quote  # lazy: only here

    traces = json.loads(get(settings.runtime_endpoint, f"/debug/traces?subject={quote(args.subject, safe='')}"))
    if not traces:
        raise NotFound(
            f"there is no trace of {args.subject!r}: the daemon keeps those of its last calls, until it is restarted"
        )
    if args.last > 0:
        traces = traces[-args.last :]
    if args.output == "json":
        print(json.dumps(traces, indent=2))
        return 0
    width = shutil.get_terminal_size((120, 24)).columns
    for number, trace in enumerate(traces):
        if number:
            print()
        for line in draw(trace, width):
            print(line)
    return 0
