"""crun refuses a hybrid cgroup layout in which the v2 tree has a controller, usually hugetlb (crun 1.8).

Mounting that controller as a v1 hierarchy takes it away from the v2 tree. Several test runs share the mount.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_ROOT = "/sys/fs/cgroup"
_MUTEX = "/run/lock/crio-tests-cgroup.mutex"
"""Held for the moment in which mounts are made or taken away."""
_USERS = "/run/lock/crio-tests-cgroup.users"
"""Held, shared, by each who needs the mounts; its content names those that were made."""


def is_hybrid() -> bool:
    return not os.path.exists(f"{_ROOT}/cgroup.controllers") and os.path.exists(f"{_ROOT}/unified/cgroup.controllers")


def _v2_controllers() -> list[str]:
    with open(f"{_ROOT}/unified/cgroup.controllers") as file:
        return file.read().split()


@contextmanager
def crun_cgroups() -> Iterator[None]:
    """While this is open, crun accepts the machine's cgroup layout. The last user takes its mounts away."""
    if not is_hybrid() and not os.path.exists(_USERS):
        yield
        return
    os.makedirs(os.path.dirname(_USERS), exist_ok=True)
    users = os.open(_USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _mutex():
            fcntl.flock(users, fcntl.LOCK_SH)
            _mount_missing(users)
        yield
        with _mutex():
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            _unmount_made(users)
    finally:
        os.close(users)


@contextmanager
def _mutex() -> Iterator[None]:
    fd = os.open(_MUTEX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _mount_missing(users: int) -> None:
    made = os.pread(users, 4096, 0).decode().split()
    for name in _v2_controllers():
        directory = f"{_ROOT}/{name}"
        os.makedirs(directory, exist_ok=True)
        if not os.path.ismount(directory):
            subprocess.run(["mount", "-t", "cgroup", "-o", name, "cgroup", directory], check=True)
            made.append(name)
    os.pwrite(users, " ".join(made).encode(), 0)


def _unmount_made(users: int) -> None:
    for name in os.pread(users, 4096, 0).decode().split():
        for _ in range(100):
            if subprocess.run(["umount", f"{_ROOT}/{name}"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                os.rmdir(f"{_ROOT}/{name}")
                break
            if not os.path.ismount(f"{_ROOT}/{name}"):
                break
            time.sleep(0.1)  # somebody looks into it at this moment
    os.ftruncate(users, 0)


_held: list[object] = []


def ensure_crun_cgroups() -> None:
    """As `crun_cgroups`, until `release_crun_cgroups`."""
    if not _held:
        context = crun_cgroups()
        context.__enter__()
        _held.append(context)


def release_crun_cgroups() -> None:
    if _held:
        context = _held.pop()
        assert hasattr(context, "__exit__")
        context.__exit__(None, None, None)
