from __future__ import annotations

import os
from pathlib import Path

from crio.linux import caps


def test_sets_of_a_process() -> None:
    sets = caps.of_process(os.getpid())
    status = Path("/proc/self/status").read_text()
    permitted = int(next(line for line in status.splitlines() if line.startswith("CapPrm")).split()[1], 16)
    assert sets.permitted == caps.names_of(permitted)
    assert sets.effective <= sets.permitted


def test_names_by_number() -> None:
    assert caps.NAMES[21] == "CAP_SYS_ADMIN"
    assert caps.NAMES[40] == "CAP_CHECKPOINT_RESTORE"
    assert caps.names_of(1 << 21 | 1) == {"CAP_SYS_ADMIN", "CAP_CHOWN"}
    assert caps.names_of(1 << 63) == frozenset()


def test_known_to_kernel() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert caps.known_to_kernel() == caps.NAMES[: last + 1]
