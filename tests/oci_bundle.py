"""OCI bundles with a static busybox, for tests that run real containers with a real runtime."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

_APPLETS = ("sh cat echo sleep true false yes head tail dd tr stty tty kill ps id seq wc").split()
_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"]


def make_rootfs(path: str) -> str:
    """A root file system of one program."""
    os.makedirs(f"{path}/bin")
    for name in ("proc", "dev", "sys", "tmp"):
        os.makedirs(f"{path}/{name}")
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", f"{path}/bin/busybox")
    for applet in _APPLETS:
        os.symlink("busybox", f"{path}/bin/{applet}")
    return path


def process(args: Sequence[str], *, terminal: bool = False, uid: int = 0) -> dict[str, Any]:
    """The OCI `process` object."""
    return {
        "terminal": terminal,
        "user": {"uid": uid, "gid": uid},
        "args": list(args),
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
        "noNewPrivileges": True,
    }


def make_bundle(
    path: str,
    rootfs: str,
    args: Sequence[str],
    *,
    cgroup: str,
    terminal: bool = False,
    uid: int = 0,
    memory_limit: int | None = None,
    host_pid: bool = False,
) -> str:
    """A bundle directory for a container in the cgroup path `cgroup`."""
    os.makedirs(path)
    namespaces = [{"type": kind} for kind in ("mount", "ipc", "uts") + (() if host_pid else ("pid",))]
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if memory_limit is not None:
        resources["memory"] = {"limit": memory_limit, "swap": memory_limit}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]},
    ]
    spec = {
        "ociVersion": "1.0.2",
        "process": process(args, terminal=terminal, uid=uid),
        "root": {"path": rootfs, "readonly": True},
        "hostname": "test",
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "resources": resources, "cgroupsPath": cgroup},
    }
    with open(f"{path}/config.json", "w") as file:
        json.dump(spec, file)
    return path
