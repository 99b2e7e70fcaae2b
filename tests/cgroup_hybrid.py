"""crun refuses a hybrid cgroup layout in which the v2 tree has a controller, usually hugetlb (crun 1.8).

Mounting that controller as a v1 hierarchy takes it away from the v2 tree. Several test runs share the mount.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = "/sys/fs/cgroup"
_LOCK = "/run/lock/crio-tests-cgroup"


def is_hybrid() -> bool:
    return not os.path.exists(f"{_ROOT}/cgroup.controllers") and os.path.exists(f"{_ROOT}/unified/cgroup.controllers")


def _v2_controllers() -> list[str]:
    with open(f"{_ROOT}/unified/cgroup.controllers") as file:
        return file.read().split()


@contextmanager
def crun_cgroups() -> Iterator[None]:
    """While this is open, crun accepts the machine's cgroup layout. The last user takes its mounts away."""
    if not is_hybrid():
        yield
        return
    os.makedirs(os.path.dirname(_LOCK), exist_ok=True)
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = os.pread(lock, 4096, 0).decode().split()
        for name in _v2_controllers():
            directory = f"{_ROOT}/{name}"
            os.makedirs(directory, exist_ok=True)
            subprocess.run(["mount", "-t", "cgroup", "-o", name, "cgroup", directory], check=True)
            made.append(name)
        os.pwrite(lock, " ".join(made).encode(), 0)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for name in made:
            if subprocess.run(["umount", f"{_ROOT}/{name}"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                os.rmdir(f"{_ROOT}/{name}")
        Path(_LOCK).unlink(missing_ok=True)
    finally:
        os.close(lock)


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
