"""What is kept on disk of a container: one JSON file in its bundle, on a tmpfs that a reboot clears."""

from __future__ import annotations

import msgspec

from crio.base.recordfile import RecordFile

FILE = "container.json"
VERSION = 1


class ContainerUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who the container's first process is."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class ContainerRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The disk form of a container.

    It is written before anything is made, so that a crash half way leaves a list of what may exist; with `complete`
    when the runtime has created it; and when it is started. How it ended is not here but in the monitor's exit record.
    Times are Unix nanoseconds.
    """

    version: int = VERSION
    id: str
    name: str
    sandbox_id: str
    config: bytes
    """The ContainerConfig of the request, as protobuf."""
    fingerprint: bytes = b""
    """Tells a retry of the same request from a different one with the same name."""
    created_at: int
    handler: str = ""
    platform: str = ""
    """The image's ("linux/arm64"), where the handler has a runtime of its own for it (platform_runtime_paths)."""
    image_id: str = ""
    image_name: str = ""
    """The name that the image was asked by, or one of its names when it was asked by id."""
    image_digest: str = ""
    """A repo digest of the image, or its id when it has none."""
    log_path: str = ""
    log_link: str = ""
    """A link to it that a pod with linked logs has (sandbox/linked_logs.py)."""
    rootfs: str = ""
    cgroup_path: str = ""
    monitor_cgroup: str = ""
    user: ContainerUser = ContainerUser()
    stop_signal: int = 15
    stop_signal_value: int = 0
    """The same as the CRI's enumeration has it."""
    mounts: list[bytes] = []
    """The request's mounts as they were done, as protobuf."""
    image_volumes: list[str] = []
    """Ids in the store of the images that are mounted as volumes, in the order of the request's mounts."""
    own_pid_namespace: bool = True
    resources: bytes = b""
    """The LinuxContainerResources in force, as protobuf."""
    pid: int = 0
    pid_start: int = 0
    complete: bool = False
    starting_at: int = 0
    """When the runtime was last asked to start it: without `started_at` it is not known whether it did."""
    started_at: int = 0
    lost_at: int = 0
    """When the monitor was found dead without an exit record: how the container ended is not known then."""
    forbidden_calls: str = ""
    """The system calls for which the seccomp notifier has stopped it, with their counts."""
    start_error: str = ""
    """Why the runtime could not start it; then the container counts as exited."""


_file = RecordFile(FILE, ContainerRecord, VERSION)
save = _file.save
load = _file.load
