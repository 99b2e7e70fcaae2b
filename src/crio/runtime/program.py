"""The file of an OCI runtime, and what it is run from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from crio.base.process import DEFAULT_ENV
from crio.linux.mount import clone_read_only

_MAGIC = b"\x7fELF"
_PROTECTED_ENV: Mapping[str, str] = {**DEFAULT_ENV, "_LIBCONTAINER_CLONED_BINARY": "1"}
"""Tells crun that the read-only mount which it finds itself on is there for its protection."""


class Program:
    """A runtime's file, which with `protect` is run from a read-only mount of its own.

    A container must not be able to change the runtime through /proc/PID/exe of a process that is still the runtime
    (CVE-2019-5736). By itself crun sees to that at each of its starts: it mounts itself upon a file that it makes in
    /tmp, and starts once more from there. That is half of the time that most of its calls take, and when it is killed
    meanwhile it leaves the file, and perhaps the mount. The mount that is made here serves every call, is in no
    namespace, and vanishes with the daemon and the last process that runs from it.
    """

    def __init__(self, path: str, *, protect: bool) -> None:
        self.path = path
        self._protect = protect
        self._fd = -1
        self._identity: tuple[int, int, int] | None = None

    def fd(self) -> int:
        """Of the file as it is now, to be run as /proc/self/fd/N; -1 if it is to be run by its path.

        It stays this object's, and is good until the next call; see `lent`.
        """
        if self._protect:
            try:
                if self._identity != _identity(os.stat(self.path)):
                    self.close()
                    self._open()
            except OSError:
                # Not there, or not with this kernel or these rights: then its path is as good, or the error better.
                self.close()
        return self._fd

    @contextlib.contextmanager
    def lent(self) -> Iterator[int]:
        """As `fd`, good as long as this is open."""
        fd = os.dup(self._fd) if self.fd() >= 0 else -1
        try:
            yield fd
        finally:
            if fd >= 0:
                os.close(fd)

    def executable(self) -> str | None:
        """As `fd`, as a path for children of this process; None if it is to be run by its own."""
        # Our number in that /proc, which may be another PID namespace's.
        return f"/proc/{os.readlink('/proc/self')}/fd/{fd}" if (fd := self.fd()) >= 0 else None

    @property
    def env(self) -> Mapping[str, str]:
        """The environment for what `fd` or `executable` gave last."""
        return _PROTECTED_ENV if self._fd >= 0 else DEFAULT_ENV

    def give_up(self) -> bool:
        """Run it by its path from now on. Whether that is anything else than before."""
        was_protected = self._fd >= 0
        self._protect = False
        self.close()
        return was_protected

    def close(self) -> None:
        """Let go of the file until it is asked for again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._identity = None

    def _open(self) -> None:
        fd = clone_read_only(self.path)
        try:
            with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
                is_program = file.read(len(_MAGIC)) == _MAGIC
            identity = _identity(os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        self._identity = identity
        if is_program:
            self._fd = fd
        else:
            # A script is opened by its interpreter once more, under a name.
            os.close(fd)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns
