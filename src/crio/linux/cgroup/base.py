"""What both versions of control groups can do."""

from __future__ import annotations

import errno
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from crio.linux.cgroup.ahead import MoveAhead
from crio.linux.cgroup.figures import Figures, MemoryStats


class CgroupFs(ABC):
    """The mounted control group file system(s) of this machine.

    Readers return None when the group or its controller does not exist: a group may vanish at any moment. All others
    raise OSError.
    """

    version: int

    @property
    @abstractmethod
    def controllers(self) -> frozenset[str]:
        """The controllers that containers can use."""

    @abstractmethod
    def roots(self) -> Sequence[str]:
        """The mount points below which a group of ours has directories."""

    def all_roots(self) -> Sequence[str]:
        """As `roots`, and those where only OCI runtimes make directories for a group."""
        return self.roots()

    @abstractmethod
    def figures(self, path: str) -> Figures:
        """What the group uses, to be read as often as wanted; to be closed, also if the group is not there."""

    def memory(self, path: str) -> MemoryStats | None:
        with self.figures(path) as figures:
            return figures.memory()

    def memory_limit(self, path: str) -> int | None:
        """The group's own limit in bytes; None without one, and when it is not there."""
        with self.figures(path) as figures:
            return figures.memory_limit()

    @abstractmethod
    def frozen(self, path: str) -> bool: ...

    @abstractmethod
    def thaw(self, path: str) -> None: ...

    @abstractmethod
    def lift_cpu_quota(self, path: str) -> None:
        """The group's own CPU quota ends; its parents' stay."""

    @abstractmethod
    def process_root(self) -> str:
        """The mount point whose cgroup.procs tells who is in a group."""

    def exists(self, path: str) -> bool:
        return os.path.isdir(self.process_root() + path)

    def create(self, path: str, *, hand_down: bool = True) -> None:
        """Make the group, and its parents, in every hierarchy. Fine if it is there.

        `hand_down` tells whether the parents are ours, so that their controllers may be handed down to it (version 2).
        """
        for root in self.roots():
            make(root + path)

    def add(self, path: str, pid: int) -> None:
        """Move a process into the group."""
        for root in self.roots():
            write(f"{root}{path}/cgroup.procs", str(pid))

    def is_in(self, path: str, pid: int) -> bool:
        """Whether a process is in the group or in one below it; False when it has ended."""
        found = self.group_of(pid)
        return found is not None and (found == path or found.startswith(f"{path.rstrip('/')}/"))

    def group_of(self, pid: int | str) -> str | None:
        """The group that a process ("self": this one) is in; None when it has ended."""
        controller = self._process_controller()
        for line in (read(f"/proc/{pid}/cgroup") or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return path
        return None

    def expect_move(self) -> None:
        """Have the kernel get ready for a process to be moved into a group soon; see ahead.py. Returns at once."""
        self._ahead.begin()

    @cached_property
    def _ahead(self) -> MoveAhead:
        return MoveAhead(self._stay)

    def _stay(self) -> None:
        """Move this process into the group it is in."""
        path = self.group_of("self")
        if path is not None:
            write(f"{self.process_root()}{path.rstrip('/')}/cgroup.procs", str(os.getpid()))

    @abstractmethod
    def _process_controller(self) -> str:
        """The controller mounted at `process_root`, as /proc/PID/cgroup names it."""

    def processes(self, path: str) -> list[int]:
        """The processes in the group and in those below it; [] when it is gone."""
        found: list[int] = []
        directories = [self.process_root() + path]
        for directory in directories:
            found += map(int, (read(f"{directory}/cgroup.procs") or "").split())
            try:
                # A group's directory has a link for each group right below it, beside its own two.
                if os.stat(directory).st_nlink != 2:
                    with os.scandir(directory) as entries:
                        directories += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                continue
        return found

    def kill(self, path: str, *, timeout: float = 2.0) -> None:
        """SIGKILL what is in the group and below it, until nothing is or `timeout` seconds are over."""
        end = time.monotonic() + timeout
        while found := self.processes(path):
            if self.frozen(path):
                self.thaw(path)
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > end:
                return
            time.sleep(0.005)

    def remove(self, path: str, *, timeout: float = 0.5) -> None:
        """Remove the group and the empty groups below it, everywhere. Fine if it is not there.

        A group whose last process has just ended can be busy for a moment: EBUSY is retried for `timeout` seconds, then
        raised.
        """
        end = time.monotonic() + timeout
        for root in self.all_roots():
            while True:
                try:
                    _remove_tree(root + path)
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > end:
                        raise
                    time.sleep(0.005)

    def remove_unused(self, path: str) -> None:
        """Remove the group if it has no groups below it in any hierarchy; else, or if it is not there, do nothing."""
        try:
            for root in self.all_roots():
                try:
                    os.rmdir(root + path)
                except FileNotFoundError:
                    pass
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise

    def find(self, names: Collection[str]) -> list[str]:
        """The paths of all groups with one of these names, wherever they are, each once."""
        found: set[str] = set()
        for root in self.all_roots():
            for directory, below, _ in os.walk(root):
                found.update(f"{directory.removeprefix(root)}/{name}" for name in below if name in names)
        return sorted(found)

    def children(self, path: str) -> Iterator[str]:
        """Names of the groups directly below, over all hierarchies, each once."""
        seen: set[str] = set()
        for root in self.roots():
            try:
                with os.scandir(root + path) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except FileNotFoundError:
                continue
            for name in names:
                if name not in seen:
                    seen.add(name)
                    yield name


def make(directory: str) -> None:
    """Make a group's directory and its parents. Fine if it is there."""
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        # The parent had become unused, and another daemon removed it between our two looks.
        os.makedirs(directory, mode=0o755, exist_ok=True)


def _remove_tree(path: str) -> None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError:
        for directory, names, _ in os.walk(path, topdown=False):
            for name in names:
                try:
                    os.rmdir(os.path.join(directory, name))
                except FileNotFoundError:
                    pass
        os.rmdir(path)


def read(path: str) -> str | None:
    """A control file's text, or None if it or its group is not there (ENODEV: the group went while it was open)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(fd, 65536)
        while chunk := os.read(fd, 65536):
            data += chunk
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):
            return None
        raise
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
