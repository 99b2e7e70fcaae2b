"""Control groups of pods that systemd makes.

A group with a process is a scope unit, so that systemd and the daemon agree on who owns what. Only the pod's own
group, in which nothing runs, is a directory that the daemon makes in the pod's slice: a scope needs a process.
"""

from __future__ import annotations

import logging
import posixpath

from crio.base.errors import CrioError, FailedPrecondition, Unavailable
from crio.linux.cgroup import CgroupFs
from crio.sandbox.groups import PodGroups
from crio.sandbox.systemd import Systemd, systemd_runs
from crio.wire.dbus import Variant

log = logging.getLogger(__name__)

_PLACE_TRIES = 2
_NOT_HERE = 'cgroup_manager is systemd, and systemd does not run this machine; set cgroup_manager = "cgroupfs"'


class SystemdGroups(PodGroups):
    """systemd makes the groups."""

    manager = "systemd"

    def __init__(self, groups: CgroupFs, systemd: Systemd | None = None) -> None:
        super().__init__(groups)
        if not systemd_runs():
            log.warning("no pod can run: %s", _NOT_HERE)
        self._systemd = systemd or Systemd()

    async def make(self, path: str) -> None:
        slice_path = posixpath.dirname(path)
        if not self._groups.exists(slice_path):
            if not systemd_runs():
                raise FailedPrecondition(f"cannot make the pod's cgroup: {_NOT_HERE}")
            await self._systemd.start(posixpath.basename(slice_path))
        self._groups.create(path, hand_down=False)

    async def _place(self, path: str, pid: int, description: str) -> None:
        for left in reversed(range(_PLACE_TRIES)):
            if self._groups.is_in(path, pid):
                return
            try:
                await self._systemd.start_scope(
                    posixpath.basename(path),
                    posixpath.basename(posixpath.dirname(path)) or "-.slice",
                    [pid],
                    {
                        "Description": Variant("s", description),
                        "DefaultDependencies": Variant("b", False),
                        "After": Variant("as", ["crio.service"]),
                        # systemd's SIGTERM would end a monitor before its container; it ends by itself, right after.
                        "KillSignal": Variant("i", 13),
                        "Delegate": Variant("b", True),
                    },
                )
            except ProcessLookupError:
                return
            except Unavailable:
                if not left:
                    raise
            except CrioError:
                # Asked twice, the first answer got lost: then the scope is there, with the process in it.
                if not self._groups.is_in(path, pid):
                    raise

    def close(self) -> None:
        self._systemd.close()
