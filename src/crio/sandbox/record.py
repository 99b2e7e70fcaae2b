"""What is kept on disk of a pod sandbox: one JSON file beside the pod's files, on a tmpfs that a reboot clears."""

from __future__ import annotations

import msgspec

from crio.base.recordfile import RecordFile
from crio.spec.oci_runtime import IdMapping

FILE = "sandbox.json"
VERSION = 1


class SandboxRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The disk form of a sandbox.

    It is written twice: before anything is made, so that a crash half way leaves a list of what may exist, and at the
    end with `complete`. Times are Unix nanoseconds.
    """

    version: int = VERSION
    id: str
    name: str
    config: bytes
    """The PodSandboxConfig of the request, as protobuf."""
    fingerprint: bytes = b""
    """Tells a retry of the same request from a different one with the same name."""
    runtime_handler: str = ""
    created_at: int
    cgroup_parent: str = ""
    namespaces: dict[str, str] = {}
    """Path of the pinned namespace by kind ("net", "ipc", "uts", "user")."""
    uid_mappings: list[IdMapping] = []
    """Of the pod's user namespace; empty without one."""
    gid_mappings: list[IdMapping] = []
    shm_path: str = ""
    hostname: str = ""
    pause_pid: int = 0
    """The process that holds a shared PID namespace; 0 when the pod has none."""
    pause_start: int = 0
    """That process' start time in clock ticks after boot, so that a reused number is not taken for it."""
    linked_logs: str = ""
    """The pod's volume that shows it its logs, as a path below the kubelet's pods; "" if it has not asked for that."""
    ips: list[str] = []
    network_result: bytes = b""
    process_label: str = ""
    mount_label: str = ""
    complete: bool = False
    stopping: bool = False
    """A stop has begun: if the daemon ends before it is done, the next one finishes it."""
    stopped_at: int = 0


_file = RecordFile(FILE, SandboxRecord, VERSION)
save = _file.save
load = _file.load
