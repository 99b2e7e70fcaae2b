"""A pod's logs in one of its own emptyDir volumes, for a container that collects them (annotation link-logs).

The pod's log directory is bound read-only over the kubelet's directory of the volume for as long as the pod runs, and
has a link named after each container's id. Who may have this reads the logs of one pod, its own; the volume's name
never leads anywhere else (CVE-2025-0750).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.base.regex import regex
from crio.linux import mount, selinux
from crio.linux.openat2 import open_beneath
from crio.spec.annotations import LINK_LOGS, find

KUBELET_PODS = "/var/lib/kubelet/pods"
"""Where the kubelet has its pods' volumes, unless it is told otherwise (--root-dir)."""

_FLAGS = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
_VOLUME = regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UID = regex(r"[A-Za-z0-9][-A-Za-z0-9]{0,127}")


def volume(annotations: Mapping[str, str], config: pb.PodSandboxConfig) -> str:
    """The volume that the allowed annotation asks for, as a path below the kubelet's pods; "" without it.

    Raises InvalidArgument for what is no name of a volume, and for a pod without logs or an id.
    """
    name = find(annotations, LINK_LOGS)
    if not name:
        return ""
    what = f"cannot use annotation {LINK_LOGS}"
    if not _VOLUME.fullmatch(name):
        raise InvalidArgument(f"{what}: {name[:80]!r} is no name of an emptyDir volume of the pod")
    if not _UID.fullmatch(config.metadata.uid):
        raise InvalidArgument(f"{what}: the pod's uid {config.metadata.uid[:80]!r} is none that the kubelet gives")
    if not config.log_directory:
        raise InvalidArgument(f"{what}: the pod has no log directory")
    return f"{config.metadata.uid}/volumes/kubernetes.io~empty-dir/{name}"


def place(path: str, *, pods: str = KUBELET_PODS) -> str:
    """The volume's path on the host, without links; "" for none."""
    return os.path.join(os.path.realpath(pods), path) if path else ""


def mount_logs(path: str, logs: str, *, label: str = "", pods: str = KUBELET_PODS) -> None:
    """Bind the directory `logs` over the volume `path` of `volume`. `label` is the SELinux label of the pod's files.

    Raises FailedPrecondition if the pod has no such volume, OSError.
    """
    with _opened(path, pods) as volume_fd:
        if label:
            selinux.set_file_label(logs, label)
        mount.bind(logs, f"/proc/self/fd/{volume_fd}")
    with _opened(path, pods) as bound_fd:
        flags = mount.MS_REMOUNT | mount.MS_BIND | _FLAGS
        mount.mount(None, f"/proc/self/fd/{bound_fd}", None, flags)


def unmount_logs(path: str, *, pods: str = KUBELET_PODS) -> None:
    """Undo `mount_logs`; fine if it was never done, or the volume is gone. Raises OSError."""
    target = place(path, pods=pods)
    while mount.is_mount_point(target):
        mount.umount(target, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)


def link_path(logs: str, container_id: str) -> str:
    """Where a container's log is linked to, in the pod's log directory."""
    return os.path.join(logs, f"{container_id}.log")


def link_log(link: str, log_path: str) -> None:
    """Make the link of `link_path`; fine if it is there. `log_path` is that of the request, so it holds in the pod."""
    os.makedirs(os.path.dirname(link), 0o755, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(log_path, link)


@contextlib.contextmanager
def _opened(path: str, pods: str) -> Iterator[int]:
    try:
        root = os.open(pods, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_beneath(root, path, os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(root)
    except OSError as error:
        raise FailedPrecondition(
            f"cannot show the pod its logs as annotation {LINK_LOGS} asks: it has no emptyDir volume at {pods}/{path}: "
            f"{error.strerror}; name one of its volumes, or leave the annotation out"
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)
