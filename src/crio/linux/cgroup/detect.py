"""Finds out which control groups this machine has mounted."""

from __future__ import annotations

from crio.base.errors import FailedPrecondition
from crio.linux.cgroup.base import CgroupFs, read
from crio.linux.cgroup.v1 import CgroupV1
from crio.linux.cgroup.v2 import CgroupV2

_V1_CONTROLLERS = frozenset(
    "cpu,cpuacct,cpuset,memory,devices,freezer,blkio,pids,hugetlb,net_cls,net_prio,perf_event,rdma,misc".split(",")
)


def detect(mountinfo: str = "/proc/self/mountinfo") -> CgroupFs:
    """The control groups of this machine. Raises FailedPrecondition when none are mounted.

    Where version 1 hierarchies with controllers exist (also beside a version 2 tree: "hybrid"), those are used, as OCI
    runtimes do; version 2 otherwise.
    """
    v1: dict[str, str] = {}
    v2: str | None = None
    for line in (read(mountinfo) or "").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        kind, _, options = (*right.split(), "", "", "")[:3]
        if fields[3] != "/":
            continue
        if kind == "cgroup2" and v2 is None:
            v2 = fields[4]
        elif kind == "cgroup":
            for option in options.split(","):
                if option in _V1_CONTROLLERS or option == "name=systemd":
                    v1.setdefault(option, fields[4])
    if any(not name.startswith("name=") for name in v1):
        return CgroupV1(v1, v2)
    if v2 is not None:
        return CgroupV2(v2)
    raise FailedPrecondition("cannot find control groups: mount cgroup2 at /sys/fs/cgroup")
