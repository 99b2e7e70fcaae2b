"""Giving a volume the SELinux label of its pod: only where it is not there already, in parallel, and resumable.

A volume may hold millions of files. What has the right label is not written again, so a second run after a deadline
goes on where the first one stopped; directories are done after what is in them, so that a directory whose label fits
says that everything below it was done (`trust_top`). The pod may change the volume meanwhile: every directory is opened
beneath the top without following links, so that no exchange of a directory for a link leads out of it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from crio.base.errors import Cancelled, InvalidArgument
from crio.linux import selinux
from crio.linux.openat2 import open_beneath

_FORBIDDEN = frozenset(
    "/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /opt /proc /root /run /sbin /srv "
    "/sys /system /tmp /usr /var /var/lib /var/log".split()
)
_BATCH = 512
_QUEUE = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def check_path(path: str) -> None:
    """Raises InvalidArgument for directories of the host whose relabelling would break it (CVE-2021-43816)."""
    clean = os.path.realpath(path)
    if clean in _FORBIDDEN or clean.startswith(("/usr/", "/proc/", "/sys/")):
        raise InvalidArgument(
            f"cannot relabel {clean} for SELinux: it belongs to the host; mount it without relabelling"
        )


def relabel(
    path: str,
    label: str,
    *,
    trust_top: bool = False,
    workers: int = 4,
    cancelled: threading.Event | None = None,
) -> int:
    """Give `path`, and everything below it on the same file system, the label; how many files were changed.

    Symlinks themselves are labelled, never followed. `trust_top`: a top that has the label already means that
    everything has. File systems without labels (NFS, FAT) are left alone. Blocks for as long as it takes: run it in a
    thread. Raises OSError, and Cancelled when the event is set; the next call goes on.
    """
    check_path(path)
    if trust_top and selinux.file_label(path) == label:
        return 0
    if not os.path.isdir(path):
        return _label(path, label)
    top_fd = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        walk = _Walk(top_fd, label, cancelled)
        with ThreadPoolExecutor(workers, thread_name_prefix="relabel") as pool:
            return walk.run(pool)
    finally:
        os.close(top_fd)


class _Walk:
    """One walk over a tree: leaves in the pool, each directory itself after everything below it."""

    def __init__(self, top_fd: int, label: str, cancelled: threading.Event | None) -> None:
        self._top_fd, self._label, self._cancelled = top_fd, label, cancelled
        self._device = os.fstat(top_fd).st_dev

    def run(self, pool: ThreadPoolExecutor) -> int:
        changed = 0
        found: list[str] = []
        waiting = deque(["."])
        running: set[Future[tuple[int, list[str]]]] = set()
        while waiting or running:
            while waiting and len(running) < _QUEUE:
                directory = waiting.popleft()
                found.append(directory)
                running.add(pool.submit(self._files_of, directory))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                count, directories = future.result()
                changed += count
                waiting.extend(directories)
        for directory in reversed(found):
            self._check_cancelled()
            changed += self._directory(directory)
        return changed

    def _files_of(self, directory: str) -> tuple[int, list[str]]:
        """Label what is in a directory and is none; its subdirectories on this file system are returned."""
        changed = 0
        directories: list[str] = []
        fd = self._open(directory)
        if fd is None:
            return 0, []
        try:
            with os.scandir(fd) as entries:
                for count, entry in enumerate(entries):
                    if count % _BATCH == 0:
                        self._check_cancelled()
                    if not entry.is_dir(follow_symlinks=False):
                        changed += _label(f"/proc/self/fd/{fd}/{entry.name}", self._label, follow=False)
                    elif entry.stat(follow_symlinks=False).st_dev == self._device:
                        directories.append(f"{directory}/{entry.name}")
        finally:
            os.close(fd)
        return changed, directories

    def _directory(self, directory: str) -> int:
        fd = self._open(directory)
        if fd is None:
            return 0
        try:
            return _label(fd, self._label)
        finally:
            os.close(fd)

    def _open(self, directory: str) -> int | None:
        """None if it went, or was exchanged for something else, since it was found."""
        try:
            return open_beneath(self._top_fd, directory, _DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
                return None
            raise

    def _check_cancelled(self) -> None:
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled("cannot finish relabelling: it was cancelled; a retry goes on where it stopped")


def _label(path: str | int, label: str, *, follow: bool = True) -> int:
    try:
        if selinux.file_label(path, follow=follow) == label:
            return 0
        selinux.set_file_label(path, label, follow=follow)
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EROFS):
            return 0
        raise
    return 1
