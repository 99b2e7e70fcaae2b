from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.proc_mounts import check_destination


@pytest.mark.parametrize("path", ["/proc", "/proc/", "/procs/x", "/", "/a/proc/x", "/proc/cpuinfo", "//proc//uptime"])
def test_allowed(path: str) -> None:
    check_destination(path)


@pytest.mark.parametrize("path", ["/proc/self/attr", "proc/1", "/x/../proc/sys", "//proc/self", "/proc/cpuinfo/x"])
def test_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="below /proc"):
        check_destination(path)
