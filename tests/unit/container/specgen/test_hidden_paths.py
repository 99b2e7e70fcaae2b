from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.hidden_paths import masked_paths, readonly_paths
from spec_input import plain_host


def test_masked() -> None:
    host = plain_host(masked_paths=("/proc/kcore", "/sys/devices/virtual/powercap"))
    assert masked_paths(["/x", "/proc/kcore"], host, privileged=False) == [
        "/proc/kcore",
        "/sys/devices/virtual/powercap",
        "/x",
    ]
    assert masked_paths([], host, privileged=False) == []
    assert masked_paths(["/x"], host, privileged=True) == []


def test_read_only() -> None:
    assert readonly_paths(["/proc/sys"], privileged=False) == ["/proc/sys"]
    assert readonly_paths(["/proc/sys"], privileged=True) == []


@pytest.mark.parametrize("path", ["", "../x", "proc/kcore", "/proc\0/kcore"])
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(InvalidArgument, match="masked path"):
        masked_paths([path], plain_host(), privileged=False)
    with pytest.raises(InvalidArgument, match="read-only path"):
        readonly_paths([path], privileged=False)
