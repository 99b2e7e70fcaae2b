"""What a zygote loads and what a monitor costs: budgets, so that nobody spends them unseen."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import crio
from monitor_bed import Bed

_SOURCE = crio.__file__.removesuffix("/crio/__init__.py")

_LIST_MODULES = """
import sys
sys.path.insert(0, sys.argv[1])
import crio.conmon.zygote
print(*sorted(sys.modules))
"""

_TOO_HEAVY = {"asyncio", "json", "re", "logging", "threading", "subprocess", "typing", "dataclasses", "inspect"}
_MAX_MODULES = 95
_MAX_PRIVATE_KIB = 320
"""What a sleeping monitor has written to; 230 were measured with CPython 3.11, 320 of conmon in C."""


def test_modules() -> None:
    command = [sys.executable, "-I", "-S", "-c", _LIST_MODULES, _SOURCE]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    foreign = {name.partition(".")[0] for name in loaded} - {"crio"} - sys.stdlib_module_names
    assert foreign <= {"__main__", "_distutils_hack"}
    assert not loaded & _TOO_HEAVY
    assert {name for name in loaded if name.startswith("crio.")} <= {
        name for name in loaded if name.startswith(("crio.conmon", "crio.linux", "crio.wire", "crio.base"))
    }
    assert len(loaded) <= _MAX_MODULES


@pytest.mark.root
async def test_memory_of_a_monitor(bed: Bed) -> None:
    monitors = await asyncio.gather(*(bed.create(["sleep", "1000"]) for _ in range(6)))
    for monitor in monitors:
        await bed.start(monitor)
    await asyncio.sleep(0.2)
    private = []
    for monitor in monitors:
        with open(f"/proc/{monitor.monitor_pid}/smaps_rollup") as file:
            fields = dict(line.split(":", 1) for line in file if line.endswith("kB\n"))
        private.append(int(fields["Private_Dirty"].split()[0]) + int(fields["Private_Clean"].split()[0]))
    assert sorted(private)[len(private) // 2] <= _MAX_PRIVATE_KIB
