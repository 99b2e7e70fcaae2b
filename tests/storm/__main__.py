"""`./dev storm MINUTES [--seed N] [--clients N] [--programs] [--faults]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from cgroup_hybrid import crun_cgroups
from crio.base.errors import CrioError
from images import busybox_layout
from node import Node
from storm import images
from storm.faults import Faults
from storm.weather import Report, Storm, default_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev storm", description="Random operations and kills against a model.")
    parser.add_argument("minutes", type=float, help="how long")
    parser.add_argument("--seed", type=int, default=default_seed(), help="of the random numbers")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--runtime", default="crun", choices=("crun", "runc"))
    parser.add_argument("--round", type=float, default=45.0, metavar="SECONDS", help="between two searches for leaks")
    parser.add_argument("--programs", action="store_true", help="the CNI plug-ins are programs, not built in")
    parser.add_argument(
        "--faults", action="store_true", help="the same, and they fail and hang; file systems are full at times"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("cannot storm: containers need root; run it as root")
    # Also where it is started in the background, or ended by timeout(1): clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = asyncio.run(_run(options))
    print(report)
    print(", ".join(f"{name}: {count}" for name, count in report.operations.most_common()))
    for line in (*report.wrong, *report.leaked):
        print(line)
    return 1 if report.wrong or report.leaked else 0


async def _run(options: argparse.Namespace) -> Report:
    root = Path("/dev/shm") / f"crio-storm-{secrets.token_hex(4)}"
    root.mkdir(mode=0o700)
    node = Node(root / "node", runtime=options.runtime)
    if options.programs or options.faults:
        network = node.root / "net.d" / "10-test.conflist"
        # With a field that it does not know, the daemon leaves a network to the programs.
        network.write_text(network.read_text().replace('"ipMasq"', '"x-storm": 1, "ipMasq"'))
    storm = Storm(node, options.seed, clients=options.clients, say=lambda text: print(text, flush=True))
    try:
        with crun_cgroups(), contextlib.ExitStack() as stack:
            if options.faults:
                storm.faults = Faults(node, options.seed)
                stack.enter_context(storm.faults.prepared())
            if images.is_there():
                storm.images = stack.enter_context(images.served(node))
            return await _storm(options, node, storm)
    finally:
        node.remove_files()
        shutil.rmtree(root, ignore_errors=True)


async def _storm(options: argparse.Namespace, node: Node, storm: Storm) -> Report:
    report = storm.report
    try:
        await node.start()
        with tempfile.TemporaryDirectory() as directory:
            await node.load(busybox_layout(directory))
        try:
            await storm.rounds(60 * options.minutes, options.round)
        except (RuntimeError, OSError, CrioError) as error:
            report.wrong.append(str(error))
        if report.wrong or report.leaked:
            log = Path(tempfile.gettempdir()) / f"crio-storm-{options.seed}.log"
            shutil.copy(node.root / "crio.log", log)
            print(f"the daemon's log is {log}")
        return report
    finally:
        with contextlib.suppress(Exception):
            await storm.clear()
        if node.process is not None and node.process.poll() is None:
            await node.stop()


if __name__ == "__main__":
    sys.exit(main())
