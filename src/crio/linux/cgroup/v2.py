"""Control groups version 2: one hierarchy (kernel: Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from crio.linux.cgroup.base import CgroupFs, read, write
from crio.linux.cgroup.figures import Figures
from crio.linux.cgroup.figures_v2 import FiguresV2


class CgroupV2(CgroupFs):
    version = 2

    def __init__(self, root: str) -> None:
        self._root = root

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset((read(f"{self._root}/cgroup.controllers") or "").split())

    def roots(self) -> Sequence[str]:
        return (self._root,)

    def process_root(self) -> str:
        return self._root

    def _process_controller(self) -> str:
        return ""

    def create(self, path: str, *, hand_down: bool = True) -> None:
        """As the base, and hands every controller of the root down to the group's parents if they are ours."""
        wanted = " ".join(f"+{name}" for name in sorted(self.controllers)) if hand_down else ""
        current = self._root
        for name in filter(None, path.split("/")):
            if wanted:
                self._delegate(current, wanted)
            current = f"{current}/{name}"
            os.makedirs(current, mode=0o755, exist_ok=True)

    def _delegate(self, group: str, wanted: str) -> None:
        try:
            write(f"{group}/cgroup.subtree_control", wanted)
        except OSError:
            # One controller that can't be handed down (a group with processes, a real-time task) fails the whole line.
            for controller in wanted.split():
                try:
                    write(f"{group}/cgroup.subtree_control", controller)
                except OSError:
                    pass

    def figures(self, path: str) -> Figures:
        return FiguresV2(self._root + path)

    def frozen(self, path: str) -> bool:
        return any(self._freezes(group) for group in self._with_children(path))

    def thaw(self, path: str) -> None:
        for group in self._with_children(path):
            if self._freezes(group):
                write(f"{self._root}{group}/cgroup.freeze", "0")

    def lift_cpu_quota(self, path: str) -> None:
        write(f"{self._root}{path}/cpu.max", "max")

    def _freezes(self, path: str) -> bool:
        return (read(f"{self._root}{path}/cgroup.freeze") or "").strip() == "1"

    def _with_children(self, path: str) -> list[str]:
        """The group and those right below it: crun has the processes, and freezes them, in one of those."""
        return [path, *(f"{path}/{name}" for name in self.children(path))]

    def kill(self, path: str, *, timeout: float = 2.0) -> None:
        try:
            # All at once, so that none can fork in between (Linux 5.14).
            write(f"{self._root}{path}/cgroup.kill", "1")
        except OSError:
            pass
        super().kill(path, timeout=timeout)
