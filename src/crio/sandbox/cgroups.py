"""Where in the control groups a pod and its containers stand; pure."""

from __future__ import annotations

import posixpath

from crio.base.errors import InvalidArgument
from crio.base.regex import regex

_SLICE = regex(r"[A-Za-z0-9:_.\\@]+(-[A-Za-z0-9:_.\\@]+)*")
"""Characters of unit names (systemd.unit(5)); each dash leads one level down, so none stands alone."""

DEFAULT_PARENT = {"cgroupfs": "/crio", "systemd": "system.slice"}


def cgroup_parent(requested: str, manager: str) -> str:
    """The parent group of a pod: as requested, or the default.

    Raises InvalidArgument when the form does not suit crio.conf's cgroup_manager: systemd knows slices
    ("kubepods-pod1.slice"), cgroupfs paths ("/kubepods/pod1"); a mix means that kubelet and runtime disagree.
    """
    parent = requested or DEFAULT_PARENT[manager]
    if not parent.isprintable() or ".." in parent.split("/"):
        raise InvalidArgument(f"cannot use cgroup parent {parent[:200]!r}: it is not a clean path")
    is_slice = posixpath.basename(parent).endswith(".slice")
    if manager == "systemd" and not is_slice:
        raise InvalidArgument(
            f"cannot use cgroup parent {parent!r}: cgroup_manager is systemd and this is no slice; let kubelet's "
            "cgroupDriver and crio.conf's cgroup_manager agree"
        )
    if manager == "cgroupfs" and is_slice:
        raise InvalidArgument(
            f"cannot use cgroup parent {parent!r}: cgroup_manager is cgroupfs and this is a systemd slice; let "
            "kubelet's cgroupDriver and crio.conf's cgroup_manager agree"
        )
    if manager == "systemd":
        name = posixpath.basename(parent)
        expand_slice(name)
        return name
    return posixpath.normpath("/" + parent.lstrip("/"))


def expand_slice(name: str) -> str:
    """The path of a slice: "a-b-c.slice" is "/a.slice/a-b.slice/a-b-c.slice" (systemd.slice(5)).

    Raises InvalidArgument if it is no name of a slice.
    """
    stem = name.removesuffix(".slice")
    if stem != "-" and not _SLICE.fullmatch(stem):
        raise InvalidArgument(f"cannot use cgroup parent {name!r}: this is no name of a systemd slice")
    if stem == "-":
        return "/"
    parts = stem.split("-")
    return "/" + "/".join("-".join(parts[: n + 1]) + ".slice" for n in range(len(parts)))


def manager_of(parent: str) -> str:
    """The cgroup_manager that a pod with this parent was made by. Another may be set since: then old pods go on."""
    return "systemd" if parent.endswith(".slice") else "cgroupfs"


def parent_path(parent: str) -> str:
    """The parent group as a path below the cgroup mount."""
    return expand_slice(parent) if manager_of(parent) == "systemd" else parent


def group_path(parent: str, unit: str) -> str:
    """The path of group `unit` ("crio-ID", "crio-conmon-ID") below the cgroup mount."""
    suffix = ".scope" if manager_of(parent) == "systemd" else ""
    return posixpath.join(parent_path(parent), unit + suffix)


def runtime_path(parent: str, owner_id: str, manager: str) -> str:
    """The group "crio-ID" as OCI runtimes want it: a path, or for systemd SLICE:PREFIX:NAME."""
    parent = parent or DEFAULT_PARENT[manager]
    if manager == "systemd":
        return f"{posixpath.basename(parent)}:crio:{owner_id}"
    return posixpath.join("/", parent, f"crio-{owner_id}")


def unit_names(owner_id: str) -> tuple[str, ...]:
    """What the groups of a pod or container are called, whatever the manager."""
    return tuple(f"{prefix}{owner_id}{suffix}" for prefix in ("crio-", "crio-conmon-") for suffix in ("", ".scope"))
