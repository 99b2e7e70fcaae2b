"""The kernel: version, namespaces, file systems, settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

OLDEST, TESTED = (5, 10), (6, 1)
_NAMESPACES = ("mnt", "net", "ipc", "uts", "pid", "cgroup")
_SETTINGS = (
    ("net/ipv4/ip_forward", 1, "pods with a bridge network reach nothing outside of the node"),
    ("fs/inotify/max_user_instances", 256, "watching logs and configuration fails with many pods"),
    ("fs/inotify/max_user_watches", 16384, "watching files fails with many pods"),
)
_BRIDGE = "net/bridge/bridge-nf-call-iptables"


def check(_: Patient) -> Iterator[Finding]:
    release = os.uname().release
    if version_of(release) < OLDEST:
        yield error("kernel", f"Linux {release} is too old: 5.10 is the oldest that works", "install a newer kernel")
    elif version_of(release) < TESTED:
        yield warning("kernel", f"Linux {release} is older than 6.1, the oldest that this is tested on")
    else:
        yield ok("kernel", f"Linux {release}")
    missing = [name for name in _NAMESPACES if not os.path.exists(f"/proc/self/ns/{name}")]
    if missing:
        yield error("kernel", f"namespaces are missing: {', '.join(missing)}", "use a kernel that is built with them")
    if not os.path.exists("/proc/self/ns/user"):
        yield warning("kernel", "there are no user namespaces: pods with hostUsers: false fail")
    if not _has_line("/proc/self/status", "Seccomp:"):
        yield error("kernel", "there is no seccomp: containers with a profile fail", "use a kernel with CONFIG_SECCOMP")
    yield from _settings()


def _settings() -> Iterator[Finding]:
    for name, least, why in _SETTINGS:
        value = _number(name)
        if value is not None and value < least:
            dotted = name.replace("/", ".")
            yield warning(
                "kernel",
                f"{dotted} is {value}: {why}",
                f"sysctl -w {dotted}={least}, and the same in a file of /etc/sysctl.d",
            )
    if _number(_BRIDGE) == 0:
        yield warning(
            "kernel",
            "net.bridge.bridge-nf-call-iptables is 0: services do not reach pods on the same bridge with some networks",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1",
        )


def version_of(release: str) -> tuple[int, int]:
    """6.1.0-13-amd64 is (6, 1)."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _number(name: str) -> int | None:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _has_line(path: str, start: str) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return any(line.startswith(start) for line in file)
