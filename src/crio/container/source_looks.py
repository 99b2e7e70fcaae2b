"""Whether the file systems of a container's volumes answer, before its specification is made of them.

A volume whose server has gone (NFS, FUSE) lets nobody go on who looks at it, perhaps for ever. Specifications are made
in the event loop, where such a look would hold up every other call: so a thread looks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, Unavailable
from crio.container.specgen.mount_source import open_source

PATIENCE = 10.0
"""Seconds that all volumes of a container have to answer."""
THREAD = "volumes"


class SourceLooks:
    """Looks at paths of the host. A look that does not return keeps its thread, but there is no other at that path."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._silent: set[str] = set()

    async def look(self, mounts: Iterable[pb.Mount], prefix: str = "") -> None:
        """Return when all host paths could be looked up, whatever is there. `prefix` is crio.conf's bind_mount_prefix.

        Raises Unavailable for one that does not answer, and at once if it has not answered yet since an earlier look.
        """
        paths = [mount.host_path for mount in mounts if mount.host_path]
        for path in paths:
            if path in self._silent:
                raise _unavailable(path, "still does not answer")
        if not paths:
            return
        look = _Look(paths, prefix, self._silent)
        # Not of a pool, whose threads a daemon that stops would wait for.
        threading.Thread(target=look.run, name=THREAD, daemon=True).start()
        try:
            async with asyncio.timeout(self._patience):
                await look.done
        except TimeoutError:
            path = look.path
            if not look.returned:
                self._silent.add(path)
            raise _unavailable(path, f"has not answered for {self._patience:g} s") from None


class _Look:
    def __init__(self, paths: Sequence[str], prefix: str, silent: set[str]) -> None:
        self._paths, self._prefix, self._silent = paths, prefix, silent
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.path = paths[0]
        """What it looks at."""
        self.returned = False

    def run(self) -> None:
        """In a thread. Nobody waits for the rest after a path that took too long."""
        for path in self._paths:
            if self.done.cancelled():
                break
            self.path = path
            # What is wrong with the path is told by who mounts it.
            with contextlib.suppress(CrioError, OSError):
                source = open_source(path, self._prefix)
                if source is not None:
                    with source:
                        pass
        # The daemon may have stopped meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._return)

    def _return(self) -> None:
        self.returned = True
        self._silent.discard(self.path)
        if not self.done.done():
            self.done.set_result(None)


def _unavailable(path: str, what: str) -> Unavailable:
    return Unavailable(f"cannot mount {path[:200]}: its file system {what}; see whether its server is there")
