"""`./dev bench [--quick] [--json FILE] [--markdown FILE] [NAME ...]`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import shutil
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import machine, table
from benchmarks.bench import Bench
from benchmarks.scratch import Scratch
from cgroup_hybrid import crun_cgroups
from crio.linux.prctl import set_child_subreaper
from registry_server import registry

FIGURES = {
    "start": "time from exec to the first answer, empty",
    "life": "a pod's life call by call, host network and CNI, crun and runc, beside the bare parts",
    "exec": "commands in containers: rate and processor time",
    "stream": "throughput of exec and port-forward",
    "log": "throughput of a container's log, beside conmon",
    "pull": "pull and unpack of a large image, beside skopeo",
    "node": "memory, lists and steady polling of a node full of pods, and a restart with them",
}
_PROGRAMS = ("crun", "runc", "containerd", "conmon", "skopeo", "docker-registry", "busybox", "ip")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Measure this project beside containerd, conmon, skopeo and the bare parts.",
        epilog="figures: " + "; ".join(f"{name} ({what})" for name, what in FIGURES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these figures (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller loads: about a minute each")
    parser.add_argument(
        "--pods", type=int, metavar="N", help="how many pods of two containers `node` has (default 200)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, each sample included")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables for a document")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in FIGURES]:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    if os.geteuid() != 0:
        parser.error("cannot measure: containers need root; run it as root")
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        parser.error(f"cannot measure: {', '.join(missing)} is not installed; run ./dev bench, which installs it")
    # A run that is ended by a service manager or by timeout(1) cleans up as one that is interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asyncio.run(_run(options))
    return 0


async def _run(options: argparse.Namespace) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    set_child_subreaper()
    described = machine.describe()
    scratch = Scratch()
    with crun_cgroups():
        try:
            with (
                registry(str(scratch.root / "registry")) as running,
                Console(stderr=True).status("setting up") as status,
            ):
                bench = Bench(scratch, running, status.update, quick=options.quick, pods=options.pods)
                for name in options.names or FIGURES:
                    await importlib.import_module(f"benchmarks.figures.{name}").measure(bench)
        finally:
            # Its control groups are in all hierarchies: before one of these is taken away.
            scratch.remove()
    console.print("  ".join(f"[dim]{name}[/dim] {value}" for name, value in described.items()))
    console.print("[dim]median, min-max over all rounds, and how many times better crio is (xN)[/dim]\n")
    table.show(console, bench.results)
    if options.json:
        options.json.write_text(bench.results.as_json(described))
    if options.markdown:
        options.markdown.write_text(table.markdown(bench.results))


if __name__ == "__main__":
    sys.exit(main())
