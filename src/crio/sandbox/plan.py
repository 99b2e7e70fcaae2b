"""What a pod needs, decided from its request alone; pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, Unimplemented
from crio.linux.namespaces import sysctl_path

_DIRECTORIES = {"net": "netns", "ipc": "ipcns", "uts": "utsns"}


def plan_namespaces(options: pb.NamespaceOption, sandbox_id: str, directory: str) -> dict[str, str]:
    """The file at which each namespace of the pod is pinned, by kind; kinds shared with the host are left out."""
    if options.HasField("userns_options") and options.userns_options.mode == pb.POD and options.userns_options.uids:
        raise Unimplemented(
            "cannot run the pod in a user namespace: no runtime handler announces user_namespaces; set hostUsers: true"
        )
    for kind in ("network", "ipc"):
        if getattr(options, kind) not in (pb.POD, pb.NODE):
            raise InvalidArgument(f"cannot run the pod: {kind} namespace must be POD or NODE")
    if options.pid not in (pb.POD, pb.CONTAINER, pb.NODE):
        raise InvalidArgument("cannot run the pod: pid namespace must be POD, CONTAINER or NODE")
    kinds = []
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


def sysctls(config: pb.PodSandboxConfig, defaults: Sequence[str], namespaces: Mapping[str, str]) -> dict[str, str]:
    """The kernel parameters to set in the pod's namespaces: crio.conf's default_sysctls, then the pod's.

    Only namespaced ones, and only with a namespace of the pod's own (CVE-2022-0532); names and values in a strict set
    of characters (CVE-2022-0811). A default for a namespace that the pod shares with the host is left out; the same in
    the pod's own list is an InvalidArgument.
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
    return chosen


def _kind_of(name: str, value: str) -> str:
    """The kind of namespace that a kernel parameter belongs to. Raises InvalidArgument if it belongs to none."""
    path = sysctl_path(name, value, ("net", "ipc"))
    return "net" if path.startswith("/proc/sys/net/") else "ipc"
