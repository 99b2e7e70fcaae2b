"""`crio check`: verify layers, images and containers in the storage, and mend what can be mended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from crio.base.errors import DataLoss
from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.parser import UsageError

if TYPE_CHECKING:
    from crio.config import Config


def run(call: Call) -> int:
    """0: whole, or mended; 1: damage is left. --wipe with --repair clears the storage when damage would be left."""
    from crio.cli.crio_commands.store import clear, refuse_beside_daemon
    from crio.config import load

    config = load(call.global_flags, check_host=False).config
    force, mend = call.switch("force"), call.switch("repair")
    age = _seconds(call)
    if mend:
        refuse_beside_daemon(config, "repair the storage")
    try:
        whole = _check(config, quick=call.switch("quick"), age=age, mend=mend, force=force)
    except DataLoss as error:
        print(error.message, file=sys.stderr)
        whole = False
    if whole:
        return 0
    if not (mend and call.switch("wipe")):
        return 1
    for root in clear(config, unmount=force):
        print(f"{root} was cleared")
    return 0


def _check(config: Config, *, quick: bool, age: float, mend: bool, force: bool) -> bool:
    """Whether the storage is whole in the end. Raises DataLoss if its index cannot be read."""
    from crio.cli.crio_commands.store import opened
    from crio.storage.check import check, repair

    with opened(config) as store:
        for removed in store.cleaned:
            print(f"removed {removed}")
        report = check(store, quick=quick, age=age)
        print(report)
        if report.healthy or not mend:
            return report.healthy
        left = repair(store, report, remove_containers=force)
    for damage in left:
        print(f"cannot repair {damage}", file=sys.stderr)
    if not left:
        print("repaired; images are pulled again when they are needed")
    return not left


def _seconds(call: Call) -> float:
    """--age, such as 24h."""
    from crio.config.quantity import parse_duration

    try:
        return parse_duration(call.text("age", "24h"))
    except ValueError as error:
        raise UsageError(f"--age {error}", call.path) from None
