"""The control group of a container, in the form that OCI runtimes take."""

from __future__ import annotations

import posixpath

DEFAULT_PARENT = {"cgroupfs": "/crio", "systemd": "system.slice"}


def cgroups_path(parent: str, container_id: str, manager: str) -> str:
    """A path for cgroupfs ("/kubepods/pod1/crio-ID"), SLICE:PREFIX:NAME for systemd (scope "crio-ID.scope")."""
    parent = parent or DEFAULT_PARENT[manager]
    if manager == "systemd":
        return f"{posixpath.basename(parent)}:crio:{container_id}"
    return posixpath.join("/", parent, f"crio-{container_id}")
