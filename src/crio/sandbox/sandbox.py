"""A pod sandbox in memory, and the states it goes through.

              run                     stop                 remove
    (nothing) ───▶ READY ────────────▶ NOTREADY ──────────▶ (nothing)

A sandbox is READY from the moment its record is complete until it is stopped; it has no process of its own that could
end, unless the pod shares a PID namespace: then the end of the process that holds it makes the sandbox NOTREADY.
"""

from __future__ import annotations

import asyncio
import os
from functools import cached_property

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.ids import SandboxId
from crio.linux.mount import is_mount_point
from crio.linux.pidfd import process_alive
from crio.sandbox.record import SandboxRecord, save
from crio.sandbox.user_namespace import IdMaps
from crio.security.selinux import Labels


class Sandbox:
    """One pod sandbox. Made by `SandboxManager`; others only read it."""

    def __init__(self, directory: str, record: SandboxRecord) -> None:
        self.directory = directory
        self.record = record
        self.stopping = record.stopping
        """Set as soon as a stop begins: no container may be created any more."""
        self.lock = asyncio.Lock()
        self.listed: tuple[int, bytes] = (-1, b"")
        """What lists tell of it in this state, encoded: nothing else of that changes. Kept by cri/encode.py."""
        self.creates = 0
        """How many containers are being created in it."""
        self.quiet = asyncio.Event()
        """Set while no container is being created in it."""
        self.quiet.set()

    @property
    def id(self) -> SandboxId:
        return SandboxId(self.record.id)

    @property
    def name(self) -> str:
        return self.record.name

    @cached_property
    def config(self) -> pb.PodSandboxConfig:
        return pb.PodSandboxConfig.FromString(self.record.config)

    @property
    def ready(self) -> bool:
        record = self.record
        if not record.complete or record.stopped_at:
            return False
        return not record.pause_pid or process_alive(record.pause_pid, record.pause_start)

    @property
    def is_taken_down(self) -> bool:
        """Whether a namespace of its own has gone: then a stop had begun, also where there was no room to note that."""
        return not all(map(is_mount_point, self.record.namespaces.values()))

    @property
    def options(self) -> pb.NamespaceOption:
        return self.config.linux.security_context.namespace_options

    @property
    def host_network(self) -> bool:
        return self.options.network == pb.NODE

    @property
    def privileged(self) -> bool:
        return self.config.linux.security_context.privileged

    @property
    def id_maps(self) -> IdMaps:
        """Those of the pod's user namespace; empty without one."""
        return IdMaps(self.record.uid_mappings, self.record.gid_mappings)

    @property
    def labels(self) -> Labels:
        """The pod's SELinux labels."""
        return Labels(self.record.process_label, self.record.mount_label)

    @property
    def pid_namespace(self) -> str:
        """Path of the shared PID namespace, or "" when the pod has none."""
        return f"/proc/{self.record.pause_pid}/ns/pid" if self.record.pause_pid else ""

    def replace_config(self, config: pb.PodSandboxConfig) -> None:
        """Change what is kept of the request; a retry of the original request is still known as one."""
        self.record.config = config.SerializeToString(deterministic=True)
        self.__dict__.pop("config", None)
        self.save()

    def path(self, name: str) -> str:
        """A file of the pod, for instance "resolv.conf"."""
        return os.path.join(self.directory, name)

    def save(self) -> None:
        save(self.directory, self.record)
