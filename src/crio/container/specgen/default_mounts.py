"""The mounts that every container has: kernel file systems, shared memory, and the pod's files."""

from __future__ import annotations

from crio.container.specgen.input import SandboxFacts
from crio.spec.oci_runtime import Mount

_KERNEL = ["nosuid", "noexec", "nodev"]
CGROUP = "/sys/fs/cgroup"
_SYSTEMD_V1 = "/sys/fs/cgroup/systemd"


def kernel_mounts(
    *,
    privileged: bool,
    host_network: bool,
    user_namespace: bool,
    gid_five_mapped: bool,
    cgroup_writable: bool,
    recursive_read_only: bool,
) -> list[Mount]:
    """/proc, /dev and /sys.

    A user namespace that does not own the network namespace cannot mount sysfs: the host's is bound then. The group 5
    (tty) of devpts is left out where the pod's mapping has none.
    """
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    mounts = [
        Mount("/proc", "proc", "proc", [*_KERNEL]),
        Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount("/dev/pts", "devpts", "devpts", [*pts, "gid=5"] if gid_five_mapped else pts),
        Mount("/dev/mqueue", "mqueue", "mqueue", [*_KERNEL]),
    ]
    if privileged:
        mounts.append(Mount("/sys", "sysfs", "sysfs", [*_KERNEL, "rw", "rslave"]))
        mounts.append(Mount(CGROUP, "cgroup", "cgroup", [*_KERNEL, "rw", "relatime", "rslave"]))
        return mounts
    if host_network and user_namespace:
        # Private: crun clones it on the host, and what it mounts below would cover the host's /sys/fs/cgroup.
        mode = "rro" if recursive_read_only else "ro"
        mounts.append(Mount("/sys", "bind", "/sys", [*_KERNEL, mode, "rbind", "rprivate"]))
    else:
        mounts.append(Mount("/sys", "sysfs", "sysfs", [*_KERNEL, "ro"]))
    mounts.append(Mount(CGROUP, "cgroup", "cgroup", [*_KERNEL, "relatime", "rw" if cgroup_writable else "ro"]))
    return mounts


def pod_mounts(sandbox: SandboxFacts, *, host_network: bool, read_only: bool) -> list[Mount]:
    """/dev/shm and the files that the pod's containers share; /etc/hosts of the host for a pod on its network."""
    mode = "ro" if read_only else "rw"
    mounts = []
    if sandbox.shm:
        mounts.append(Mount("/dev/shm", "bind", sandbox.shm, ["rw", "bind", "rprivate", *_KERNEL]))
    for target, source in (
        ("/etc/resolv.conf", sandbox.resolv_conf),
        ("/etc/hostname", sandbox.hostname_file),
        ("/run/.containerenv", sandbox.containerenv),
        ("/etc/hosts", "/etc/hosts" if host_network else ""),
    ):
        if source:
            mounts.append(Mount(target, "bind", source, [mode, "bind", *_KERNEL]))
    return mounts


def read_only_mounts() -> list[Mount]:
    """The writable places of a container whose root is read-only by crio.conf's read_only."""
    options = ["rw", *_KERNEL, "tmpcopyup"]
    return [
        Mount(target, "tmpfs", "tmpfs", [*options, f"mode={mode}"])
        for target, mode in (("/run", "0755"), ("/tmp", "1777"), ("/var/tmp", "1777"))
    ]


def systemd_mounts(*, cgroup_version: int) -> list[Mount]:
    """What systemd as a container's first process wants: tmpfs in its places, and a control group that it may write."""
    options = ["rw", "rprivate", *_KERNEL, "tmpcopyup"]
    mounts = [
        Mount(target, "tmpfs", "tmpfs", [*options]) for target in ("/run", "/run/lock", "/tmp", "/var/log/journal")
    ]
    if cgroup_version == 2:
        mounts.append(Mount(CGROUP, "cgroup", "cgroup", ["private", "rw"]))
    else:
        mounts.append(Mount(_SYSTEMD_V1, "bind", _SYSTEMD_V1, ["bind", "nodev", "noexec", "nosuid"]))
    return mounts


SYSTEMD_MASKED_V1 = f"{_SYSTEMD_V1}/release_agent"
"""A write to it would run a program on the host."""
