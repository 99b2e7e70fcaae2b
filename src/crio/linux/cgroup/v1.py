"""Control groups version 1: one hierarchy per controller (kernel: Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crio.linux.cgroup.base import CgroupFs, make, read, write
from crio.linux.cgroup.figures import Figures
from crio.linux.cgroup.figures_v1 import FiguresV1


class CgroupV1(CgroupFs):
    version = 1

    def __init__(self, mounts: Mapping[str, str], unified: str | None = None) -> None:
        """`mounts` maps a controller's name (and "name=systemd") to its mount point.

        `unified` is where version 2 is mounted beside them: OCI runtimes make groups there as well.
        """
        self._mounts = dict(mounts)
        self._unified = unified
        self._roots = tuple(dict.fromkeys(mounts.values()))

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(name for name in self._mounts if not name.startswith("name="))

    def roots(self) -> Sequence[str]:
        return self._roots

    def all_roots(self) -> Sequence[str]:
        return self._roots if self._unified is None else (*self._roots, self._unified)

    def process_root(self) -> str:
        return self._mounts.get("pids") or self._mounts.get("memory") or self._roots[0]

    def _process_controller(self) -> str:
        return next(name for name, root in self._mounts.items() if root == self.process_root())

    def create(self, path: str, *, hand_down: bool = True) -> None:
        for controller, root in self._mounts.items():
            make(root + path)
            if controller == "cpuset":
                self._inherit_cpuset(path)

    def _inherit_cpuset(self, path: str) -> None:
        """A new cpuset is empty, and no process may enter an empty one: take the parent's, from the top down."""
        root = self._mounts["cpuset"]
        current = root
        for name in filter(None, path.split("/")):
            parent, current = current, f"{current}/{name}"
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (read(f"{current}/{file}") or "").strip():
                    write(f"{current}/{file}", (read(f"{parent}/{file}") or "").strip())

    def figures(self, path: str) -> Figures:
        return FiguresV1(self._mounts, path)

    def frozen(self, path: str) -> bool:
        return (read(f"{self._mounts.get('freezer')}{path}/freezer.state") or "").strip() in ("FROZEN", "FREEZING")

    def thaw(self, path: str) -> None:
        write(f"{self._mounts['freezer']}{path}/freezer.state", "THAWED")

    def lift_cpu_quota(self, path: str) -> None:
        write(f"{self._mounts['cpu']}{path}/cpu.cfs_quota_us", "-1")
