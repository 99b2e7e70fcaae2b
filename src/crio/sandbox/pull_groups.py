"""Control groups for image workers that are to be apart from the daemon's (crio.conf's separate_pull_cgroup)."""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath

from crio.base.errors import FailedPrecondition
from crio.linux.cgroup import CgroupFs
from crio.sandbox.cgroups import cgroup_parent
from crio.sandbox.groups import PodGroups

log = logging.getLogger(__name__)

_PREFIX = "crio-pull-"


class WorkerGroups:
    """Puts each worker into a group of its own, named by its pid, so that what a killed daemon left is known."""

    def __init__(self, groups: PodGroups, files: CgroupFs) -> None:
        self._groups = groups
        self._files = files

    async def place(self, parent: str, pid: int) -> None:
        """Put worker `pid` below a cgroup parent; fine if it is there.

        Raises InvalidArgument for a parent that does not suit the cgroup manager, FailedPrecondition if it cannot have
        the worker, and what systemd refuses.
        """
        path = self._path(parent, pid)
        try:
            await asyncio.to_thread(self._sweep, posixpath.dirname(path))
            await self._groups.place(path, pid, "Image pulls of crio")
        except OSError as error:
            raise FailedPrecondition(
                f"cannot pull in the control group {path}: {error.strerror}; see separate_pull_cgroup in crio.conf"
            ) from None

    async def gone(self, parent: str, pid: int) -> None:
        """Remove the group of a worker that has ended. What cannot be removed is left to the next one."""
        try:
            await self._groups.remove(self._path(parent, pid))
        except OSError as error:
            log.warning("cannot remove the control group of image worker %d: %s", pid, error)

    def _path(self, parent: str, pid: int) -> str:
        return self._groups.path(cgroup_parent(parent, self._groups.manager), f"{_PREFIX}{pid}")

    def _sweep(self, parent_path: str) -> None:
        for name in list(self._files.children(parent_path)):
            number = name.removeprefix(_PREFIX).removesuffix(".scope")
            if name.startswith(_PREFIX) and number.isdecimal() and not os.path.exists(f"/proc/{number}"):
                self._files.remove_unused(posixpath.join(parent_path, name))
