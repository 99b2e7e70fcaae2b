"""What the specification of a container is made from, gathered from the pod, the image, the request and crio.conf."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.config import Config
from crio.container.container import Container
from crio.container.specgen.blockio import ConfiguredClasses
from crio.container.specgen.input import ContainerInput, HandlerFacts, ImageFacts, ImageMount, SandboxFacts
from crio.image.records import ImageInfo
from crio.inject.cdi import CdiRegistry
from crio.inject.hooks import HookDirectories
from crio.runtime.features import Features
from crio.sandbox import linked_logs
from crio.sandbox.labels import PodLabels
from crio.sandbox.sandbox import Sandbox
from crio.security.host import HostFacts
from crio.security.seccomp import SeccompProfiles


class SpecInputs:
    """Knows the node; is told the rest for each container."""

    def __init__(
        self,
        *,
        host: HostFacts,
        labels: PodLabels,
        seccomp: SeccompProfiles,
        cdi: CdiRegistry,
        hooks: HookDirectories,
        notifier_directory: str,
        config: Callable[[], Config],
        find_container: Callable[[str], Container],
    ) -> None:
        self._host = host
        self._labels = labels
        self._seccomp = seccomp
        self._cdi = cdi
        self._hooks = hooks
        self._notifier_directory = notifier_directory
        self._config = config
        self._find_container = find_container
        self._block_io = ConfiguredClasses()

    def make(
        self,
        sandbox: Sandbox,
        container: Container,
        image: ImageInfo,
        volumes: Mapping[str, ImageMount],
        features: Features,
        seccomp_artifact: bytes | None,
    ) -> ContainerInput:
        """All that the specification of one container depends on.

        Raises InvalidArgument, FailedPrecondition or NotFound if it is to share the processes of a container that
        cannot be shared with.
        """
        record, config = container.record, self._config()
        options = container.config.linux.security_context.namespace_options
        namespaces = dict(sandbox.record.namespaces)
        if sandbox.pid_namespace:
            namespaces["pid"] = sandbox.pid_namespace
        run = image.config
        labels = self._labels.of_container(sandbox.labels, container.config.linux.security_context)
        return ContainerInput(
            id=record.id,
            name=record.name,
            config=container.config,
            sandbox_config=sandbox.config,
            sandbox=SandboxFacts(
                id=sandbox.id,
                name=sandbox.name,
                namespaces=namespaces,
                cgroup_parent=sandbox.record.cgroup_parent,
                hostname=sandbox.record.hostname,
                resolv_conf=sandbox.path("resolv.conf"),
                hostname_file=sandbox.path("hostname"),
                containerenv=sandbox.path(".containerenv"),
                shm=sandbox.record.shm_path,
                process_label=sandbox.record.process_label,
                mount_label=sandbox.record.mount_label,
                uid_mappings=sandbox.record.uid_mappings,
                gid_mappings=sandbox.record.gid_mappings,
                ips=sandbox.record.ips,
                linked_logs=linked_logs.place(sandbox.record.linked_logs),
            ),
            image=ImageFacts(
                requested=container.config.image.image,
                name=record.image_name,
                id=image.id,
                repo_digests=image.repo_digests,
                annotations=image.annotations,
                entrypoint=run.entrypoint,
                command=run.cmd,
                env=run.env,
                user=run.user,
                working_directory=run.working_dir,
                volumes=tuple(run.volumes),
                stop_signal=run.stop_signal,
            ),
            handler=HandlerFacts(
                name=record.handler,
                settings=config.runtime.runtimes[record.handler],
                recursive_read_only=features.recursive_read_only and self._host.recursive_read_only,
                idmapped_mounts=features.idmapped_mounts,
                seccomp_program=features.seccomp_program,
                platform_path=config.runtime.runtimes[record.handler].platform_runtime_paths.get(record.platform, ""),
            ),
            runtime=config.runtime,
            host=self._host,
            seccomp=self._seccomp,
            cdi=self._cdi,
            hooks=self._hooks,
            rootfs=record.rootfs,
            run_directory=container.directory,
            log_path=record.log_path,
            created_at=record.created_at,
            storage_root=config.crio.root,
            image_volumes=config.image.image_volumes,
            image_mounts=volumes,
            process_label=labels.process,
            init_process_label=self._labels.of_init(labels),
            mount_label=labels.mount,
            seccomp_artifact=seccomp_artifact,
            seccomp_notifier_directory=self._notifier_directory,
            blockio=self._block_io.classes(config.runtime.blockio_config_file),
            target_pid_namespace=self._target(sandbox, options.target_id) if options.pid == pb.TARGET else "",
        )

    def _target(self, sandbox: Sandbox, container_id: str) -> str:
        """The PID namespace of another container of the pod."""
        if not container_id:
            raise InvalidArgument(
                "cannot create container: it is to share the processes of another one, and target_id is empty"
            )
        other = self._find_container(container_id)
        if other.record.sandbox_id != sandbox.id:
            raise InvalidArgument(f"cannot share processes with container {other.short_id}: it is in another pod")
        if not other.running:
            raise FailedPrecondition(f"cannot share processes with container {other.short_id}: it does not run")
        return f"/proc/{other.record.pid}/ns/pid"
