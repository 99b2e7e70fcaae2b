"""Making a container and unmaking it: writable layer, specification, monitor, the runtime's create.

The record is written first, so that whatever exists is named by it; unmaking goes through the same list of things,
each fine if it is not there. That one path serves removal, a create that failed, and one that a crash cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument, NotFound
from crio.base.executor import Executor
from crio.base.failpoints import failpoint
from crio.base.files import even_if_full, remove_directory, write_new
from crio.base.ids import new_id
from crio.base.jobs import Job
from crio.base.tasks import TaskScope
from crio.base.unfinished import Unfinished
from crio.config import Config
from crio.config.tables.handler import RuntimeHandler
from crio.conmon.client import ZygoteClient
from crio.conmon.errors import MonitorGone
from crio.conmon.exitrecord import ExitRecord, remove_exit_code
from crio.conmon.spec import MonitorSpec
from crio.conmon.watch import Monitor
from crio.container import image_mounts
from crio.container.container import Container
from crio.container.names import log_path
from crio.container.notifiers import Notifiers
from crio.container.record import FILE, ContainerRecord
from crio.container.seccomp_artifact import profile_of_artifact
from crio.container.source_looks import SourceLooks
from crio.container.spec_inputs import SpecInputs
from crio.container.specgen.apply import apply_effects, apply_relabels
from crio.container.specgen.build import build_spec
from crio.container.specgen.input import ImageMount
from crio.container.specgen.mapped import unmap_owners
from crio.container.specgen.plan import ContainerPlan
from crio.container.specgen.quota import rootfs_quota
from crio.container.specgen.seccomp import artifact_reference
from crio.container.stored import Owned, StoredContainer, id_map_entries, ours
from crio.container.update import Update, plan_update
from crio.image.artifacts.layout import ArtifactInfo
from crio.image.records import ImageInfo
from crio.image.restore import with_restore
from crio.image.service import ImageService
from crio.linux.cgroup import CgroupFs
from crio.linux.pidfd import kill_process, start_time
from crio.linux.process_tree import kill_tree, processes_called
from crio.runtime.driver import OciRuntime
from crio.runtime.handlers import Runtimes
from crio.sandbox import linked_logs
from crio.sandbox.annotations import of_image, of_pod
from crio.sandbox.files import let_in, make_log_directory
from crio.sandbox.groups import PodGroups
from crio.sandbox.labels import PodLabels
from crio.sandbox.sandbox import Sandbox
from crio.sandbox.user_namespace import check_same
from crio.security.host import HostFacts
from crio.storage.deletion import delete_tree
from crio.storage.store import Store

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
_MONITOR_PATIENCE = 2.0
_spec_encoder = msgspec.json.Encoder()


class MakerSettings(msgspec.Struct, frozen=True):
    """Where containers have their directories, and who owns them."""

    directory: str
    """Where each container has its bundle; on a tmpfs."""
    exit_directory: str

    @property
    def notifier_directory(self) -> str:
        """Where seccomp notifiers listen."""
        return os.path.join(os.path.dirname(self.directory), "seccomp")


class MakerRooms(msgspec.Struct, frozen=True):
    """What containers are made with."""

    host: HostFacts
    cgroups: CgroupFs
    groups: PodGroups
    store: Store
    storage: Executor
    images: ImageService
    runtimes: Runtimes
    zygote: ZygoteClient
    inputs: SpecInputs
    labels: PodLabels
    notifiers: Notifiers


class ContainerMaker:
    """Makes containers up to the state CREATED, and unmakes them from any."""

    def __init__(
        self,
        settings: MakerSettings,
        rooms: MakerRooms,
        config: Callable[[], Config],
    ) -> None:
        self.settings = settings
        self.cgroups = rooms.cgroups
        self._groups = rooms.groups
        self.runtimes = rooms.runtimes
        self._config = config
        self._inputs = rooms.inputs
        self._host = rooms.host
        self._store = rooms.store
        self._storage = rooms.storage
        self._images = rooms.images
        self._zygote = rooms.zygote
        self._labels = rooms.labels
        self.notifiers = rooms.notifiers
        self._sources = SourceLooks()
        self._background = TaskScope("monitor placement")
        self._placing: dict[str, asyncio.Task[None]] = {}
        """By container id; a removal waits for it, so that no group is made after it was removed."""
        self.unfinished = Unfinished(self._undo, lambda container: f"container {container.short_id}")
        """What creates that failed or were cut off have left, and could not be removed yet."""

    def runtime(self, record: ContainerRecord) -> OciRuntime:
        """The runtime that makes, or has made, a container. Raises FailedPrecondition if it has gone."""
        return self.runtimes.get(record.handler, record.platform)

    async def make(
        self, job: Job, sandbox: Sandbox, name: str, config: pb.ContainerConfig, data: bytes, fingerprint: bytes
    ) -> tuple[Container, Monitor]:
        """A container in state CREATED with its monitor. Whatever fails, nothing of it is left."""
        self.cgroups.expect_move()
        check_same(sandbox.options, config.linux.security_context.namespace_options)
        image = self._images.resolve(config.image.image)
        if isinstance(image, ArtifactInfo):
            raise InvalidArgument(f"cannot run {config.image.image[:300]}: it is an OCI artifact; mount it as a volume")
        asked = config.image.user_specified_image or config.image.image
        await self._images.check_use(image, asked, sandbox.config.metadata.namespace)
        container_id = new_id()
        handler = sandbox.record.runtime_handler or self.runtimes.default_name
        settings = self._config().runtime.runtimes.get(handler)
        if settings is None:
            raise FailedPrecondition(
                f"cannot create container {config.metadata.name}: its pod has runtime handler {handler}, which is not "
                "in crio.conf any more; put it back, or make the pod anew"
            )
        parent = sandbox.record.cgroup_parent
        record = ContainerRecord(
            id=container_id,
            name=name,
            sandbox_id=sandbox.id,
            config=data,
            fingerprint=fingerprint,
            created_at=time.time_ns(),
            handler=handler,
            platform=_platform(image, settings),
            image_id=image.id,
            image_name=_image_name(config, image),
            image_digest=image.repo_digests[0] if image.repo_digests else image.id,
            log_path=log_path(sandbox.config, config),
            cgroup_path=self._groups.path(parent, f"crio-{container_id}"),
            monitor_cgroup=self._groups.monitor_path(parent, container_id, settings.monitor_cgroup),
            own_pid_namespace=config.linux.security_context.namespace_options.pid == pb.CONTAINER,
            resources=config.linux.resources.SerializeToString(),
            image_volumes=image_mounts.new_ids(config),
        )
        if record.log_path and sandbox.record.linked_logs:
            record.log_link = linked_logs.link_path(sandbox.config.log_directory, container_id)
        container = Container(os.path.join(self.settings.directory, container_id), record)
        try:
            return container, await self._make(job, sandbox, container, image)
        except BaseException:
            await self.unfinished.remove_or_keep(container)
            raise

    async def _make(self, job: Job, sandbox: Sandbox, container: Container, image: ImageInfo) -> Monitor:
        record = container.record
        os.mkdir(container.directory, 0o700)
        container.save()
        if sandbox.record.uid_mappings:
            directory = self.settings.directory
            let_in([os.path.dirname(directory), directory, container.directory], sandbox.id_maps.root[1])
        failpoint("container.create.after_record")
        with job.step("storage"):
            record.rootfs = await self._rootfs(sandbox, container, image)
            volumes: Mapping[str, ImageMount] = {}
            if record.image_volumes:
                images = await image_mounts.resolve_images(
                    self._images,
                    container.config,
                    sandbox.config.metadata.namespace,
                    artifacts=self._config().image.oci_artifact_mount_support,
                )
                volumes = await image_mounts.mount_images(
                    self._store, self._storage, self._images, images, sandbox, container
                )
        failpoint("container.create.after_storage")
        runtime = self.runtime(record)
        with job.step("volumes"):
            await self._sources.look(container.config.mounts, self._config().runtime.bind_mount_prefix)
        with job.step("specification"):
            features = await runtime.features()
            profile = await self._artifact_profile(sandbox, container, image)
            plan = build_spec(self._inputs.make(sandbox, container, image, volumes, features, profile))
            for warning in plan.warnings:
                log.warning("container %s: %s", container.short_id, warning)
            if sandbox.record.uid_mappings:
                # Mounts with mapped owners take the kernel a millisecond each.
                await self._storage.run(apply_effects, plan.effects, record.rootfs)
            else:
                apply_effects(plan.effects, record.rootfs)
            failpoint("container.create.after_effects")
            self._remember(record, plan)
            write_new(container.path(CONFIG_FILE), _spec_encoder.encode(plan.spec))
            if record.log_path:
                make_log_directory(os.path.dirname(record.log_path))
            if record.log_link:
                linked_logs.link_log(record.log_link, container.config.log_path.lstrip("/"))
            container.save()
        if plan.relabels:
            with job.step("relabel volumes"):
                await self._storage.run(apply_relabels, plan.relabels)
        if plan.seccomp_listener:
            self.notifiers.start(container, plan.seccomp_listener, plan.seccomp_action)
        with job.step("runtime create"):
            monitor = await self._create_under_monitor(container)
        unmap_owners(container.directory)
        failpoint("container.create.after_runtime")
        record.pid = monitor.pid
        record.pid_start = start_time(monitor.pid)
        record.complete = True
        container.save()
        # Moving a process costs the kernel milliseconds, and systemd more, so nobody waits for it.
        description = f"Monitor of container {record.name}"
        placing = self._groups.place(record.monitor_cgroup, monitor.monitor_pid, description)
        self._placing[record.id] = self._background.spawn(container.short_id, placing)
        return monitor

    async def _create_under_monitor(self, container: Container) -> Monitor:
        """The runtime's create. A monitor that is killed before it has answered is replaced, once."""
        runtime = self.runtime(container.record)
        with runtime.program.lent() as program:
            spec = self._monitor_spec(container, runtime)
            try:
                return await self._zygote.create(spec, program=program)
            except MonitorGone as error:
                why = error.message
                log.warning("container %s is created again, its monitor ended early: %s", container.short_id, why)
                await asyncio.to_thread(_end_create, runtime.path, container.id)
                await runtime.delete(container.id, force=True)
                return await self._zygote.create(spec, program=program)

    async def _rootfs(self, sandbox: Sandbox, container: Container, image: ImageInfo) -> str:
        """The mounted root file system. A layer that the disk has lost is fetched again, once."""
        return await with_restore(
            self._images,
            image,
            sandbox.config.metadata.namespace,
            make=lambda: self._storage.run(self._make_rootfs, sandbox, container, image),
            unmake=lambda: self._storage.run(self._remove_from_store, container.id),
        )

    def _make_rootfs(self, sandbox: Sandbox, container: Container, image: ImageInfo) -> str:
        record, pod = container.record, sandbox.config.metadata
        context = container.config.linux.security_context
        mount_label = self._labels.of_container(sandbox.labels, context).mount
        metadata = StoredContainer(
            pod_name=sandbox.name,
            pod_id=sandbox.id,
            image_name=record.image_name,
            image_id=image.id,
            name=record.name,
            metadata_name=container.config.metadata.name,
            uid=pod.uid,
            namespace=pod.namespace,
            mountlabel=mount_label,
            created_at=record.created_at // 1_000_000_000,
            attempt=container.config.metadata.attempt,
            privileged=container.config.linux.security_context.privileged,
        )
        self._store.create_container(
            record.id,
            names=[record.name],
            image_id=image.id,
            metadata=metadata.text(),
            mount_label=mount_label,
            uid_mappings=id_map_entries(sandbox.record.uid_mappings),
            gid_mappings=id_map_entries(sandbox.record.gid_mappings),
        )
        quota = rootfs_quota(self._annotations(sandbox, record.handler), container.config.metadata.name)
        if quota is not None:
            self._store.limit_container(record.id, size=quota)
        return self._store.mount_container(record.id)

    async def _artifact_profile(self, sandbox: Sandbox, container: Container, image: ImageInfo) -> bytes | None:
        """The seccomp profile of an OCI artifact, if an annotation names one; pulled if it is not there yet."""
        runtime = self._config().runtime
        handler = container.record.handler
        reference = artifact_reference(
            container.config.linux.security_context,
            container.config.metadata.name,
            self._annotations(sandbox, handler),
            of_image(image.annotations, sandbox.config.annotations, runtime.runtimes[handler], runtime.workloads),
        )
        if not reference:
            return None
        return await profile_of_artifact(self._images, reference, sandbox.config.metadata.namespace)

    def _annotations(self, sandbox: Sandbox, handler: str) -> Mapping[str, str]:
        """The pod's annotations that its handler or workload allows it."""
        runtime = self._config().runtime
        return of_pod(sandbox.config.annotations, runtime.runtimes[handler], runtime.workloads)

    def _remember(self, record: ContainerRecord, plan: ContainerPlan) -> None:
        """What ContainerStatus and a later stop need of the plan."""
        record.user = plan.user
        record.stop_signal = plan.stop_signal.number
        record.stop_signal_value = int(plan.stop_signal.value)
        record.mounts = [mount.SerializeToString() for mount in plan.volumes]

    def _monitor_spec(self, container: Container, runtime: OciRuntime) -> MonitorSpec:
        record, config = container.record, self._config()
        handler = config.runtime.runtimes[record.handler]
        request = container.config
        return MonitorSpec(
            id=record.id,
            name=record.name,
            bundle=container.directory,
            runtime_path=runtime.path,
            runtime_root=runtime.root,
            runtime_args=runtime.global_arguments,
            env=runtime.program.env,
            create_args=["--no-pivot"] if config.runtime.no_pivot else [],
            log_path=record.log_path or None,
            terminal=request.tty,
            stdin=request.stdin,
            stdin_once=request.stdin_once,
            exit_dir=self.settings.exit_directory,
            log_size_max=config.runtime.log_size_max,
            no_sync_log=handler.no_sync_log,
            log_to_journald=config.runtime.log_to_journald,
            timeout=handler.container_create_timeout,
        )

    @property
    def stop_patience(self) -> float:
        """Seconds of SIGKILL after which a stop is given up: crio.conf's ctr_stop_timeout."""
        return float(self._config().runtime.ctr_stop_timeout)

    def plan_update(self, container: Container, change: pb.LinuxContainerResources) -> Update:
        """What a change of its limits means, also where a reload has taken its handler away. Raises InvalidArgument."""
        record = container.record
        memory = self.cgroups.memory(record.cgroup_path)
        return plan_update(
            container.config.metadata.name,
            pb.LinuxContainerResources.FromString(record.resources),
            change,
            self._host,
            min_memory=self._config().runtime.runtimes.get(record.handler, RuntimeHandler()).container_min_memory,
            memory_usage=memory.usage if memory is not None else None,
            runtime_lifts_quota=self.cgroups.version != 1 or not self.runtime(record).is_crun,
        )

    # Unmaking

    async def _undo(self, container: Container) -> None:
        await self.unmake(Job("UndoContainer", container.name, container.id, b""), container)

    async def unmake(self, job: Job, container: Container) -> None:
        """End and remove everything a container has, the record last. Raises what a step raises."""
        record = container.record
        self.notifiers.close(container.id)
        if record.complete:
            # From here on there is no way back: after a crash the rest goes as well, and nobody asks how it had ended.
            record.complete = False
            with even_if_full(f"a note that container {container.short_id} is being removed"):
                container.save()
        if os.path.exists(container.path(CONFIG_FILE)):
            with job.step("runtime delete"):
                await self._delete_from_runtime(container)
        with job.step("storage"):
            if (placing := self._placing.pop(record.id, None)) is not None:
                await asyncio.wait([placing])
            await self._storage.run(self._remove_stored, record)
        failpoint("container.remove.after_storage")
        remove_exit_code(self.settings.exit_directory, record.id)
        remove_directory(container.directory, last=FILE)

    async def _delete_from_runtime(self, container: Container) -> None:
        record = container.record
        monitor = await Monitor.connect(record.id, container.directory)
        started = start_time(monitor.monitor_pid) if monitor.monitor_pid else 0
        runtime = self.runtime(record)
        try:
            if monitor.exited is not None:
                runtime.release_start(record.id)
            await runtime.delete(record.id, force=True)
            if record.pid:
                kill_process(record.pid, record.pid_start)
            if not await monitor.wait_gone(_MONITOR_PATIENCE):
                kill_process(monitor.monitor_pid, started)
        finally:
            monitor.close()

    def _remove_stored(self, record: ContainerRecord) -> None:
        # A runtime that was killed in the middle of its create leaves a process that it does not know of.
        self.cgroups.kill(record.cgroup_path)
        # Listening has ended with the container, or with the daemon that made it.
        _unlink(os.path.join(self.settings.notifier_directory, record.id[:32]))
        if record.log_link:
            _unlink(record.log_link)
        unmap_owners(os.path.join(self.settings.directory, record.id))
        image_mounts.unmount_images(self._store, record.image_volumes)
        self._remove_from_store(record.id)
        self.cgroups.remove(record.cgroup_path)
        self.cgroups.remove(record.monitor_cgroup)

    # Recovery

    async def reconnect(self, container: Container) -> tuple[Monitor, ExitRecord | None]:
        """The container's monitor, and how the container ended if it did. MonitorUnavailable if the monitor hangs."""
        monitor = await Monitor.connect(container.id, container.directory)
        record = container.record
        if record.starting_at and not (record.started_at or record.start_error):
            await self._finish_start(container, monitor.exited)
        return (monitor, monitor.exited)

    async def _finish_start(self, container: Container, exit: ExitRecord | None) -> None:
        """A start was cut off: note it if the runtime has done it."""
        record = container.record
        try:
            if exit is not None:
                done = not exit.finished_at_ns or exit.finished_at_ns >= record.starting_at
            else:
                done = await self.runtime(record).state(container.id) != "created"
            if done:
                record.started_at = record.starting_at
                with even_if_full(f"a note that container {container.short_id} was started"):
                    container.save()
        except CrioError as error:
            log.warning("cannot tell whether container %s was started: %s", container.short_id, error.message)

    async def stored_containers(self) -> list[Owned]:
        """What is ours in the store."""
        return list(ours(await self._storage.run(self._store.containers)))

    async def remove_unrecorded(self, container_id: str) -> None:
        """Remove a container of which only the id is known: from every runtime, and from the store."""
        for runtime in self.runtimes.values():
            try:
                await runtime.delete(container_id, force=True)
            except CrioError as error:
                log.debug("container %s is not known to %s: %s", container_id[:12], runtime.name, error)
        await self._storage.run(self._remove_from_store, container_id)
        delete_tree(os.path.join(self.settings.directory, container_id))

    def _remove_from_store(self, container_id: str) -> None:
        with contextlib.suppress(NotFound):
            self._store.remove_container(container_id)

    async def close(self) -> None:
        await self._background.join()


def _platform(image: ImageInfo, handler: RuntimeHandler) -> str:
    """The image's platform, if the handler has a runtime of its own for it."""
    if not handler.platform_runtime_paths:
        return ""
    platform = f"{image.config.os}/{image.config.architecture}"
    return platform if platform in handler.platform_runtime_paths else ""


def _image_name(config: pb.ContainerConfig, image: ImageInfo) -> str:
    """What ContainerStatus tells as the image's name: a tag of it rather than an id."""
    if config.image.user_specified_image:
        return config.image.user_specified_image
    return image.repo_tags[0] if image.repo_tags else config.image.image


def _end_create(runtime: str, container_id: str) -> None:
    """End what a killed monitor has left running: it would go on beside the next attempt."""
    for pid in processes_called(runtime, "create", container_id):
        kill_tree(pid)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
