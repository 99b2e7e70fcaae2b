"""The control groups that a pod has besides its containers': its own, and those of its helper processes.

crio.conf's cgroup_manager decides who makes them. With "cgroupfs" the daemon makes directories and moves processes.
With "systemd" it asks systemd for scopes; see systemd_groups.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

from crio.base.errors import InvalidArgument
from crio.linux.cgroup import CgroupFs
from crio.linux.process_tree import children_of
from crio.sandbox import cgroups


class PodGroups(ABC):
    """Makes groups of pods and puts helper processes into groups of their own. Paths are as in linux/cgroup."""

    manager: str

    def __init__(self, groups: CgroupFs) -> None:
        self._groups = groups

    def path(self, parent: str, unit: str) -> str:
        """The group `unit` ("crio-ID") of a pod with this cgroup parent."""
        return cgroups.group_path(parent, unit)

    def parent_path(self, parent: str) -> str:
        """A cgroup parent as a path."""
        return cgroups.parent_path(parent)

    def monitor_path(self, parent: str, container_id: str, monitor_cgroup: str) -> str:
        """Where a container's monitor goes: beside the container, or into the handler's `monitor_cgroup`."""
        inside = parent if monitor_cgroup in ("", "pod") else monitor_cgroup
        return self.path(inside, f"crio-conmon-{container_id}")

    def check_memory(self, parent: str, minimum: int) -> None:
        """Raise InvalidArgument if the parent's memory limit is below `minimum` bytes: nothing could start in it."""
        memory = self._groups.memory_limit(self.parent_path(parent))
        if memory is not None and memory < minimum:
            raise InvalidArgument(
                f"cannot run the pod: its memory limit {memory} is too low; it should be at least {minimum} bytes"
            )

    async def remove(self, path: str) -> None:
        """Remove a group and what is below it; its processes must have ended. Fine if it is not there."""
        await asyncio.to_thread(self._groups.remove, path)

    @abstractmethod
    async def make(self, path: str) -> None:
        """Make the group of a pod. Fine if it is there."""

    async def place(self, path: str, pid: int, description: str) -> None:
        """Put a process into a group of its own. Fine if the process is there, or has ended.

        Those of its children that are where it was go with it: a monitor may have one that serves at this moment.
        """
        before = self._groups.group_of(pid)
        await self._place(path, pid, description)
        if before is not None and before != self._groups.group_of(pid):
            await asyncio.to_thread(self._follow, path, pid, before)

    @abstractmethod
    async def _place(self, path: str, pid: int, description: str) -> None:
        """`place`, without the children."""

    def _follow(self, path: str, pid: int, before: str) -> None:
        for child in children_of(pid):
            if self._groups.group_of(child) == before:
                with contextlib.suppress(ProcessLookupError):
                    self._groups.add(path, child)

    def drop_parent(self, parent: str) -> None:
        """Remove a pod's parent group if that is the daemon's own and empty now."""
        return

    def close(self) -> None:
        return


class CgroupfsGroups(PodGroups):
    """The daemon makes the groups."""

    manager = "cgroupfs"

    async def make(self, path: str) -> None:
        self._groups.create(path)

    async def _place(self, path: str, pid: int, description: str) -> None:
        # Moving a process can wait for milliseconds; see linux/cgroup/ahead.py.
        await asyncio.to_thread(self._move, path, pid)

    def _move(self, path: str, pid: int) -> None:
        self._groups.create(path)
        with contextlib.suppress(ProcessLookupError):
            self._groups.add(path, pid)

    def drop_parent(self, parent: str) -> None:
        if parent == cgroups.DEFAULT_PARENT[self.manager]:
            self._groups.remove_unused(parent)


def pod_groups(manager: str, groups: CgroupFs) -> PodGroups:
    """The groups as crio.conf's cgroup_manager wants them to be made."""
    if manager == "systemd":
        # Only here, so that no other daemon has D-Bus in its memory.
        from crio.sandbox.systemd_groups import SystemdGroups

        return SystemdGroups(groups)
    return CgroupfsGroups(groups)
