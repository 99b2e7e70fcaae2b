"""Control groups: which there are, and whether the configured manager can make them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

_ROOT = "/sys/fs/cgroup"
_NEEDED = ("cpu", "memory", "pids")
_USEFUL = ("cpuset", "io")


def check(patient: Patient) -> Iterator[Finding]:
    if os.path.exists(f"{_ROOT}/cgroup.controllers"):
        yield from _version_2()
    elif os.path.isdir(f"{_ROOT}/memory"):
        yield from _version_1()
    else:
        yield error("cgroups", f"no control groups are mounted at {_ROOT}", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    if patient.loaded is None or patient.loaded.config.runtime.cgroup_manager != "systemd":
        return
    if not os.path.isdir("/run/systemd/system"):
        yield error(
            "cgroups",
            'cgroup_manager is "systemd", but this machine does not run systemd',
            'set cgroup_manager = "cgroupfs" in [crio.runtime], and cgroupDriver: cgroupfs in an older kubelet',
        )


def _version_2() -> Iterator[Finding]:
    with open(f"{_ROOT}/cgroup.controllers", encoding="ascii") as file:
        found = file.read().split()
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        yield error(
            "cgroups", f"controllers are missing: {', '.join(missing)}", "enable them on the kernel's command line"
        )
    absent = [name for name in _USEFUL if name not in found]
    if absent:
        yield warning("cgroups", f"controllers are missing: {', '.join(absent)}; limits of their kind have no effect")
    if not missing and not absent:
        yield ok("cgroups", "version 2, with all controllers")


def _version_1() -> Iterator[Finding]:
    missing = [name for name in _NEEDED if not os.path.isdir(f"{_ROOT}/{name}")]
    if missing:
        yield error("cgroups", f"hierarchies are missing: {', '.join(missing)}", "mount them, or boot with version 2")
    yield warning(
        "cgroups",
        "version 1: kubelet refuses it by default, and some limits and pressure figures do not exist",
        "boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1: false for the kubelet",
    )
    unified = f"{_ROOT}/unified/cgroup.controllers"
    if os.path.exists(unified):
        with open(unified, encoding="ascii") as file:
            both = file.read().split()
        if both:
            yield warning(
                "cgroups",
                f"the version 2 tree at {_ROOT}/unified has {', '.join(both)}: crun refuses such a machine",
                f"mount -t cgroup -o {both[0]} cgroup {_ROOT}/{both[0]}, or use runc",
            )
