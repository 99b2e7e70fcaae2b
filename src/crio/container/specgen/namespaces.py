"""The namespaces of a container: the pod's by their pinned files, new ones, or the host's."""

from __future__ import annotations

from collections.abc import Mapping

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.spec.oci_runtime import Namespace

_TYPES = {"net": "network", "ipc": "ipc", "uts": "uts", "user": "user"}


def namespaces(
    options: pb.NamespaceOption,
    pod: Mapping[str, str],
    *,
    target_pid: str,
    cgroup_version: int,
    privileged: bool,
) -> list[Namespace]:
    """The specification's list; what is not in it stays the host's.

    `pod` has the path of each namespace of the pod by kind; `target_pid` is that of mode TARGET. Raises
    FailedPrecondition if the pod or the target has no PID namespace to share, InvalidArgument for an unknown mode.
    """
    found = [Namespace("mount")]
    found += [Namespace(type_, pod[kind]) for kind, type_ in _TYPES.items() if pod.get(kind)]
    pid = _pid_namespace(options.pid, pod, target_pid)
    if pid is not None:
        found.append(pid)
    if cgroup_version == 2 and not privileged:
        found.append(Namespace("cgroup"))
    return found


def _pid_namespace(mode: int, pod: Mapping[str, str], target: str) -> Namespace | None:
    if mode == pb.CONTAINER:
        return Namespace("pid")
    if mode == pb.NODE:
        return None
    if mode == pb.POD:
        if not pod.get("pid"):
            raise FailedPrecondition(
                "cannot create container: it is to share the pod's PID namespace, and the pod was made without one"
            )
        return Namespace("pid", pod["pid"])
    if mode == pb.TARGET:
        if not target:
            raise FailedPrecondition(
                "cannot create container: the container whose PID namespace it is to share does not run"
            )
        return Namespace("pid", target)
    raise InvalidArgument(f"cannot create container: PID namespace mode {mode} is not known")
