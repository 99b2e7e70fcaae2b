"""Control groups: one interface, one file per kernel version of it (cgroup-v1/, cgroup-v2.rst of the kernel's docs).

Creates, fills, empties and reads groups; limits of containers are set by the OCI runtime, not here. A path is written
as the kernel shows it in /proc/PID/cgroup: "/kubepods/pod1/crio-…", without a mount point. Called by sandbox/, stats/
and the monitor's placement.
"""

from __future__ import annotations

from crio.linux.cgroup.base import CgroupFs
from crio.linux.cgroup.detect import detect
from crio.linux.cgroup.figures import CpuStats, Figures, IoDevice, MemoryStats, PidsStats, Pressure, Use

__all__ = ["CgroupFs", "CpuStats", "Figures", "IoDevice", "MemoryStats", "PidsStats", "Pressure", "Use", "detect"]
