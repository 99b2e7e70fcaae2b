"""Everything a specification is made from, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.config.tables.handler import RuntimeHandler
from crio.config.tables.runtime import Runtime
from crio.security.host import HostFacts
from crio.security.seccomp import SeccompProfiles
from crio.spec.oci_runtime import IdMapping

if TYPE_CHECKING:
    from crio.container.specgen.blockio import BlockIoClasses
    from crio.inject.cdi import CdiRegistry
    from crio.inject.hooks import HookDirectories


class SandboxFacts(msgspec.Struct, frozen=True):
    """The pod as it runs. Paths are those of the host; an empty one means that the pod has no such thing."""

    id: str
    name: str
    namespaces: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Path by kind: "net", "ipc", "uts", "user", and "pid" where the pod shares one. What is absent is the host's."""
    cgroup_parent: str = ""
    """As crio.conf's cgroup_manager writes it: a path, or the name of a slice."""
    hostname: str = ""
    resolv_conf: str = ""
    hostname_file: str = ""
    containerenv: str = ""
    shm: str = ""
    process_label: str = ""
    mount_label: str = ""
    uid_mappings: Sequence[IdMapping] = ()
    """The pod's user namespace; empty without one."""
    gid_mappings: Sequence[IdMapping] = ()
    ips: Sequence[str] = ()
    linked_logs: str = ""
    """Where the pod's logs are shown to it."""


class ImageFacts(msgspec.Struct, frozen=True):
    """The image: how it is known, and what its configuration says about running it."""

    requested: str = ""
    """As the request names it."""
    name: str = ""
    id: str = ""
    repo_digests: Sequence[str] = ()
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Those of the manifest; labels of the configuration mean nothing here (CVE-2026-53488)."""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ()
    user: str = ""
    working_directory: str = ""
    volumes: Sequence[str] = ()
    stop_signal: str = ""


class HandlerFacts(msgspec.Struct, frozen=True):
    """The runtime handler: its table in crio.conf, and what its program said it can do (`features`)."""

    name: str = ""
    settings: RuntimeHandler = RuntimeHandler()
    recursive_read_only: bool = False
    idmapped_mounts: bool = False
    seccomp_program: bool = False
    """crun: takes a ready filter by its annotation run.oci.seccomp_bpf_data."""
    platform_path: str = ""
    """The runtime's program, where the handler has one of its own for the image's platform."""


class ImageMount(msgspec.Struct, frozen=True):
    """An image or artifact that the request mounts as a volume, ready on the host."""

    source: str = ""
    """Directory with the image's content, sub path included; empty for an artifact."""
    image_id: str = ""
    files: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Of an artifact: the host's path of each blob by its name below the mount point."""
    owners_mapped: bool = False
    """The owners are those of the pod's user namespace already."""


class ContainerInput(msgspec.Struct, frozen=True):
    """One container to make a specification for.

    `rootfs` must be mounted. `run_directory` is a directory of the container's own on the host, for files that are
    mounted into it.
    """

    id: str
    name: str
    config: pb.ContainerConfig
    sandbox_config: pb.PodSandboxConfig
    sandbox: SandboxFacts
    image: ImageFacts
    handler: HandlerFacts
    runtime: Runtime
    host: HostFacts
    seccomp: SeccompProfiles
    rootfs: str
    run_directory: str
    log_path: str = ""
    created_at: int = 0
    """Unix nanoseconds."""
    storage_root: str = "/var/lib/containers/storage"
    image_volumes: str = "mkdir"
    """crio.image.image_volumes: mkdir, bind or ignore."""
    image_mounts: Mapping[str, ImageMount] = msgspec.field(default_factory=dict)
    """By the container path of the request's mount."""
    target_pid_namespace: str = ""
    """Path of the PID namespace of the container that namespace mode TARGET names."""
    process_label: str = ""
    """The container's own SELinux labels, from `security.selinux.container_labels`."""
    init_process_label: str = ""
    """The process label in its place where the first process is an init system."""
    mount_label: str = ""
    seccomp_artifact: bytes | None = None
    """The profile that `seccomp.artifact_reference` names, fetched by the caller."""
    seccomp_notifier_directory: str = "/var/run/crio/seccomp"
    blockio: BlockIoClasses | None = None
    cdi: CdiRegistry | None = None
    hooks: HookDirectories | None = None
    restored: bool = False
    """Made from a checkpoint: a missing mount source is then an error, since its kind is not known."""
