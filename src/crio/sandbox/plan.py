"""What a pod needs, decided from its request alone; pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.linux.namespaces import sysctl_path
from crio.spec.oci_runtime import IdMapping

_DIRECTORIES = {"user": "userns", "net": "netns", "ipc": "ipcns", "uts": "utsns"}
_PING_GROUPS = "net.ipv4.ping_group_range"


def plan_namespaces(
    options: pb.NamespaceOption, sandbox_id: str, directory: str, *, user: bool = False
) -> dict[str, str]:
    """The file at which each namespace of the pod is pinned, by kind; kinds shared with the host are left out.

    `user`: the pod has a user namespace of its own.
    """
    for kind in ("network", "ipc"):
        if getattr(options, kind) not in (pb.POD, pb.NODE):
            raise InvalidArgument(f"cannot run the pod: {kind} namespace must be POD or NODE")
    if options.pid not in (pb.POD, pb.CONTAINER, pb.NODE):
        raise InvalidArgument("cannot run the pod: pid namespace must be POD, CONTAINER or NODE")
    kinds = ["user"] if user else []
    if options.network == pb.POD:
        kinds += ["net", "uts"]
    if options.ipc == pb.POD:
        kinds.append("ipc")
    return {kind: os.path.join(directory, _DIRECTORIES[kind], sandbox_id) for kind in kinds}


def hostname(config: pb.PodSandboxConfig, sandbox_id: str, default: Callable[[str], str]) -> str:
    """The pod's host name: the node's with the host's network, else as requested, else made from the id."""
    if config.linux.security_context.namespace_options.network == pb.NODE:
        return os.uname().nodename
    return config.hostname or default(sandbox_id)


def sysctls(
    config: pb.PodSandboxConfig,
    defaults: Sequence[str],
    namespaces: Mapping[str, str],
    group_mappings: Sequence[IdMapping] = (),
) -> dict[str, str]:
    """The kernel parameters to set in the pod's namespaces: crio.conf's default_sysctls, then the pod's.

    Only namespaced ones, and only with a namespace of the pod's own (CVE-2022-0532); names and values in a strict set
    of characters (CVE-2022-0811). A default for a namespace that the pod shares with the host is left out; the same in
    the pod's own list is an InvalidArgument. `group_mappings` are those of the pod's user namespace: the daemon sets
    the parameters from outside, so groups are named as the host knows them.
    """
    chosen: dict[str, str] = {}
    for item in defaults:
        name, _, value = (part.strip() for part in item.partition("="))
        if _kind_of(name, value) in namespaces:
            chosen[name] = value
    for name, value in config.linux.sysctls.items():
        kind = _kind_of(name, value)
        if kind not in namespaces:
            raise InvalidArgument(
                f"cannot set sysctl {name}: the pod shares the {kind} namespace with the host, whose value would change"
            )
        chosen[name] = value
    for name in [name for name in chosen if group_mappings and name.replace("/", ".") == _PING_GROUPS]:
        chosen[name] = _mapped_groups(name, chosen[name], group_mappings)
    return chosen


def _mapped_groups(name: str, value: str, mappings: Sequence[IdMapping]) -> str:
    """A range of the container's groups as the host's; what lies beyond the mapping of its first one is cut off."""
    parts = value.split()
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise InvalidArgument(f"cannot set sysctl {name}: {value[:80]!r} is no range of groups")
    asked = int(parts[0])
    mapping = next((run for run in mappings if run.container_id <= asked < run.container_id + run.size), mappings[0])
    first, last = (min(max(int(part) - mapping.container_id, 0), mapping.size - 1) for part in parts)
    if int(parts[0]) > int(parts[1]):
        # Nobody may: the kernel takes "1 0" for that.
        return f"{mapping.host_id + 1} {mapping.host_id}"
    return f"{mapping.host_id + first} {mapping.host_id + last}"


def _kind_of(name: str, value: str) -> str:
    """The kind of namespace that a kernel parameter belongs to. Raises InvalidArgument if it belongs to none."""
    path = sysctl_path(name, value, ("net", "ipc"))
    return "net" if path.startswith("/proc/sys/net/") else "ipc"
