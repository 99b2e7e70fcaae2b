"""What this machine has for the demonstration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from crio.base.errors import FailedPrecondition

PLUGIN_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
PLUGINS = ("bridge", "host-local")
BUSYBOXES = ("/bin/busybox", "/usr/bin/busybox", "/usr/sbin/busybox")
RUNTIMES = ("crun", "runc")
_PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Host:
    """The parts that were found. `note` says why a runtime was passed over."""

    busybox: str
    plugin_directories: tuple[str, ...]
    runtime: str
    runtime_path: str
    runtime_version: str
    cgroups: str
    note: str = ""


def inspect(scratch: str, wanted: str = "") -> Host:
    """Find the parts. `wanted` is a runtime's name, "" for the first that works; `scratch` is for the trial.

    Raises FailedPrecondition with what to install.
    """
    if os.geteuid() != 0:
        raise FailedPrecondition("cannot run a pod: this needs root; run it with sudo")
    busybox = next((path for path in BUSYBOXES if os.path.exists(path) and _is_static(path)), "")
    if not busybox:
        raise FailedPrecondition("cannot make an image: there is no static busybox; apt install busybox-static")
    directories = tuple(path for path in PLUGIN_DIRECTORIES if os.path.isdir(path))
    missing = [name for name in PLUGINS if not any(os.access(f"{path}/{name}", os.X_OK) for path in directories)]
    if missing:
        raise FailedPrecondition(
            f"cannot set up a network: no CNI plug-in {' and '.join(missing)} in {', '.join(PLUGIN_DIRECTORIES)}; "
            "apt install containernetworking-plugins"
        )
    name, path, note = _choose_runtime(scratch, busybox, (wanted,) if wanted else RUNTIMES)
    return Host(busybox, directories, name, path, _version(path), _cgroup_layout(), note)


def _choose_runtime(scratch: str, busybox: str, names: Sequence[str]) -> tuple[str, str, str]:
    reasons: list[str] = []
    for name in names:
        path = shutil.which(name)
        if path is None:
            reasons.append(f"{name} is not installed")
            continue
        error = try_runtime(path, scratch, busybox)
        if not error:
            return name, path, "; ".join(reasons)
        reasons.append(f"{name} does not work here: {error}")
    raise FailedPrecondition(f"cannot run containers: {'; '.join(reasons)}; apt install crun or runc")


def try_runtime(path: str, scratch: str, busybox: str) -> str:
    """Run `true` in a small container made by hand, and return "" or why that failed.

    Some versions of crun refuse a machine with both versions of control groups; only a trial tells.
    """
    bundle = os.path.join(scratch, "trial")
    for directory in ("bin", "dev", "proc"):
        os.makedirs(os.path.join(bundle, "rootfs", directory), exist_ok=True)
    shutil.copy(busybox, os.path.join(bundle, "rootfs/bin/busybox"))
    identifier = f"crio-demo-trial-{os.getpid()}"
    document = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": f"/{identifier}",
            "resources": {"pids": {"limit": 16}},
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "network", "ipc", "uts")],
        },
    }
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump(document, file)
    root = ["--root", os.path.join(bundle, "state")]
    try:
        completed = subprocess.run(
            [path, *root, "run", "--bundle", bundle, identifier],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        error = " ".join(completed.stderr.decode("utf-8", "replace").split())[-300:]
        return "" if completed.returncode == 0 else error or f"exit code {completed.returncode}"
    except subprocess.TimeoutExpired:
        return f"no end within {_PROBE_SECONDS:g} s"
    finally:
        subprocess.run([path, *root, "delete", "--force", identifier], capture_output=True, timeout=20, check=False)
        shutil.rmtree(bundle, ignore_errors=True)


def _is_static(path: str) -> bool:
    """Whether an ELF file has no interpreter: then it runs in an otherwise empty root file system."""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:4] != b"\x7fELF" or header[4] != 2:
            return False
        offset, size = int.from_bytes(header[32:40], "little"), int.from_bytes(header[54:56], "little")
        count = int.from_bytes(header[56:58], "little")
        file.seek(offset)
        table = file.read(size * count)
    interpreter = 3
    return all(int.from_bytes(table[i * size : i * size + 4], "little") != interpreter for i in range(count))


def _version(path: str) -> str:
    try:
        completed = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout.decode("utf-8", "replace").split("\n", 1)[0].rpartition(" ")[2]


def _cgroup_layout() -> str:
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "v1 and v2" if os.path.isdir("/sys/fs/cgroup/unified") else "v1"
