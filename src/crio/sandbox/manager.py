"""All pod sandboxes of the node: finding them, running, stopping and removing them.

Each change is a job, so that a retry joins it. What a run makes is undone in reverse order if it fails or is cancelled;
what a stop or a removal could not do raises, and the next call goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Protocol

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from crio.base.failpoints import failpoint
from crio.base.files import even_if_full, remove_directory
from crio.base.ids import new_id, resolve_prefix
from crio.base.jobs import Job, JobTable
from crio.base.unfinished import Unfinished
from crio.config.tables.handler import RuntimeHandler, Workload
from crio.linux import namespaces
from crio.linux.cgroup import CgroupFs
from crio.linux.pidfd import kill_process, start_time
from crio.network.hostport import HostPorts
from crio.network.manager import Network
from crio.sandbox import cgroups, files, linked_logs, pins, plan
from crio.sandbox.annotations import of_pod
from crio.sandbox.groups import pod_groups
from crio.sandbox.labels import PodLabels
from crio.sandbox.names import add_pod_labels, check_config, sandbox_name, short_hostname
from crio.sandbox.network import pod_network
from crio.sandbox.record import FILE, SandboxRecord
from crio.sandbox.sandbox import Sandbox
from crio.sandbox.user_namespace import IdMaps, id_maps
from crio.spec.annotations import USERNS_MODE, find

log = logging.getLogger(__name__)

_OOM_SCORE = -998


class PodContainers(Protocol):
    """What stopping a pod needs from the room that keeps containers."""

    async def stop_all(self, sandbox_id: str) -> None: ...

    async def remove_all(self, sandbox_id: str) -> None: ...


class PauseSpawner(Protocol):
    """Starts the process that holds a pod's shared PID namespace."""

    async def spawn_pause(self, keep: Callable[[int], None], user_namespace: str = "", highest_id: int = 0) -> None: ...


class SandboxSettings(msgspec.Struct, frozen=True):
    """The part of the configuration that pods need."""

    directory: str
    """Where each sandbox has its directory; on a tmpfs."""
    namespaces_dir: str
    cgroup_manager: str
    handlers: Mapping[str, RuntimeHandler]
    default_runtime: str
    default_sysctls: tuple[str, ...] = ()
    disable_hostport_mapping: bool = False
    lowest_uid: int = -1
    """The lowest ids of the host that a pod's user namespace may have; -1 is any."""
    lowest_gid: int = -1
    infra_cpus: frozenset[int] = frozenset()
    """CPUs for the process that holds a shared PID namespace; empty is any."""
    workloads: Mapping[str, Workload] = {}
    unconfined_on_host_network: bool = True
    """Processes of pods on the host's network get no SELinux label."""


class SandboxManager:
    """Finds, runs, stops and removes pod sandboxes. `containers` is set by the wiring before the first call."""

    containers: PodContainers

    def __init__(
        self,
        settings: SandboxSettings,
        jobs: JobTable,
        cgroup_fs: CgroupFs,
        network: Network,
        host_ports: HostPorts,
        pause: PauseSpawner,
        labels: PodLabels | None = None,
    ) -> None:
        self.settings = settings
        self._jobs = jobs
        self._cgroups = cgroup_fs
        self.groups = pod_groups(settings.cgroup_manager, cgroup_fs)
        self._network = network
        self._host_ports = host_ports
        self._pause = pause
        self.labels = labels if labels is not None else PodLabels(enabled=False)
        self.tell: Callable[[pb.ContainerEventType.ValueType, Sandbox], None] = lambda kind, sandbox: None
        """Is told what happens to pods; set by whoever passes it on."""
        self.ids_in_store: Callable[[], Iterable[IdMaps]] = lambda: ()
        """The ids that containers in the store have, podman's too; set by who knows the store."""
        self._by_id: dict[str, Sandbox] = {}
        self._by_name: dict[str, Sandbox] = {}
        self._making: set[Sandbox] = set()
        self.unfinished = Unfinished(self._undo_all, lambda sandbox: f"sandbox {sandbox.id[:12]}")
        """What runs that failed or were cut off have left, and could not be removed yet."""

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, sandbox_id: str) -> Sandbox | None:
        """The sandbox with this full id."""
        return self._by_id.get(sandbox_id)

    def get(self, prefix: str) -> Sandbox:
        """The sandbox with this id or unambiguous id prefix. Raises NotFound, InvalidArgument."""
        sandbox = self._by_id.get(prefix)
        return sandbox if sandbox is not None else self._by_id[resolve_prefix("pod sandbox", prefix, self._by_id)]

    def adopt(self, sandbox: Sandbox) -> None:
        """Take in a sandbox that recovery found on disk."""
        self.labels.reserve(sandbox.labels)
        self._keep(sandbox)

    def _keep(self, sandbox: Sandbox) -> None:
        self._by_id[sandbox.id] = sandbox
        self._by_name[sandbox.name] = sandbox

    # Running

    async def run(self, config: pb.PodSandboxConfig, handler: str, deadline: float | None = None) -> Sandbox:
        """Make a pod sandbox and its network. The same request again gets the same sandbox.

        Raises InvalidArgument for a bad config or an unknown handler, AlreadyExists if the name is taken by a pod that
        was asked for differently, and whatever a step raises: then nothing is left.
        """
        check_config(config)
        if handler and handler not in self.settings.handlers:
            raise InvalidArgument(
                f"cannot run pod {config.metadata.name}: runtime handler {handler[:80]!r} is not configured; known are "
                f"{', '.join(sorted(self.settings.handlers))}"
            )
        name = sandbox_name(config.metadata)
        fingerprint = hashlib.sha256(config.SerializeToString(deterministic=True) + b"\0" + handler.encode()).digest()
        existing = self._by_name.get(name)
        if existing is not None:
            if existing.record.fingerprint == fingerprint and existing.ready:
                return existing
            raise AlreadyExists(
                f"cannot run pod {config.metadata.name}: sandbox {existing.id[:12]} has its name {name} already"
                + ("" if existing.ready else "; it is stopped: remove it or ask for the next attempt")
            )

        kept = pb.PodSandboxConfig()
        kept.CopyFrom(config)
        add_pod_labels(kept.labels, kept.metadata)

        async def work(job: Job) -> Sandbox:
            return await self._run(job, kept, fingerprint, handler, name)

        return await self._jobs.run(
            "RunPodSandbox", name, work, key=f"pod/{name}", fingerprint=fingerprint, deadline=deadline
        )

    async def _run(self, job: Job, config: pb.PodSandboxConfig, fingerprint: bytes, handler: str, name: str) -> Sandbox:
        sandbox, sysctls, shm_size = self._plan(config, fingerprint, handler, name)
        record = sandbox.record
        attach: asyncio.Task[None] | None = None
        self._making.add(sandbox)
        try:
            with job.step("directory"):
                os.mkdir(sandbox.directory, 0o700)
                sandbox.save()
                failpoint("sandbox.run.after_record")
                if config.log_directory:
                    files.make_log_directory(config.log_directory)
            with job.step("cgroup"):
                minimum = self.settings.handlers[handler or self.settings.default_runtime].container_min_memory
                self.groups.check_memory(record.cgroup_parent, minimum)
                await self.groups.make(self._group(record))
                # A container will follow. No group can be made until the kernel is ready, so this comes after.
                self._cgroups.expect_move()
            if record.namespaces:
                with job.step("namespaces"):
                    await asyncio.to_thread(pins.pin, record, sysctls)
                    failpoint("sandbox.run.after_namespaces")
            if "net" in record.namespaces:
                attach = asyncio.get_running_loop().create_task(self._attach_network(job, sandbox))
            with job.step("files"):
                self._make_files(sandbox, shm_size)
            if sandbox.options.pid == pb.POD:
                with job.step("pause"):
                    await self._spawn_pause(sandbox)
            if attach is not None:
                await attach
            failpoint("sandbox.run.before_complete")
            record.complete = True
            sandbox.save()
        except BaseException:
            await self._undo(sandbox, attach)
            raise
        finally:
            self._making.discard(sandbox)
        self._keep(sandbox)
        self.tell(pb.CONTAINER_CREATED_EVENT, sandbox)
        self.tell(pb.CONTAINER_STARTED_EVENT, sandbox)
        log.info("= sandbox %s is READY (%s)", sandbox.id[:12], name)
        return sandbox

    def _plan(
        self, config: pb.PodSandboxConfig, fingerprint: bytes, handler: str, name: str
    ) -> tuple[Sandbox, Mapping[str, str], int]:
        """The pod as it is to be, its kernel parameters, and the bytes of its /dev/shm; nothing is made yet."""
        sandbox_id = new_id()
        options = config.linux.security_context.namespace_options
        annotations = self._annotations(config, handler)
        maps = self._id_maps(config, annotations)
        planned = plan.plan_namespaces(options, sandbox_id, self.settings.namespaces_dir, user=bool(maps.uids))
        record = SandboxRecord(
            id=sandbox_id,
            name=name,
            config=config.SerializeToString(deterministic=True),
            fingerprint=fingerprint,
            runtime_handler=handler,
            created_at=time.time_ns(),
            cgroup_parent=cgroups.cgroup_parent(config.linux.cgroup_parent, self.settings.cgroup_manager),
            namespaces=planned,
            uid_mappings=maps.uids,
            gid_mappings=maps.gids,
            hostname=plan.hostname(config, sandbox_id, short_hostname),
        )
        sysctls = plan.sysctls(config, self.settings.default_sysctls, planned, maps.gids)
        shm_size = files.shm_size(annotations)
        record.linked_logs = linked_logs.volume(annotations, config)
        labels = self.labels.make(config, unconfined_on_host_network=self.settings.unconfined_on_host_network)
        record.process_label, record.mount_label = labels.process, labels.mount
        sandbox = Sandbox(os.path.join(self.settings.directory, sandbox_id), record)
        record.shm_path = "/dev/shm" if options.ipc == pb.NODE else sandbox.path("shm")
        return sandbox, sysctls, shm_size

    async def _undo(self, sandbox: Sandbox, attach: asyncio.Task[None] | None) -> None:
        """Leave nothing of a run that failed. What can't be removed now is kept on a list and tried again."""
        if attach is not None:
            attach.cancel()
            await asyncio.gather(attach, return_exceptions=True)
        await self.unfinished.remove_or_keep(sandbox)

    def _id_maps(self, config: pb.PodSandboxConfig, annotations: Mapping[str, str]) -> IdMaps:
        """Of the pod's user namespace: as requested, else as an annotation says. Others get no ids that it chooses."""
        context, uid, gid = config.linux.security_context, self.settings.lowest_uid, self.settings.lowest_gid
        maps = id_maps(context.namespace_options, lowest_uid=uid, lowest_gid=gid)
        if maps.uids or not find(annotations, USERNS_MODE):
            return maps
        from crio.sandbox.userns_mode import annotated_maps  # lazy: few pods ask like this

        pods = (sandbox.id_maps for sandbox in (*self, *self._making, *self.unfinished))
        taken = chain(pods, self.ids_in_store())
        return annotated_maps(annotations, context, taken, lowest_uid=uid, lowest_gid=gid) or maps

    def _annotations(self, config: pb.PodSandboxConfig, handler: str) -> Mapping[str, str]:
        """Those of the pod that its handler or workload allows it."""
        settings = self.settings
        table = settings.handlers.get(handler or settings.default_runtime, RuntimeHandler())
        return of_pod(config.annotations, table, settings.workloads)

    def _make_files(self, sandbox: Sandbox, shm_size: int) -> None:
        record, config = sandbox.record, sandbox.config
        owner = sandbox.id_maps.root
        if record.uid_mappings:
            directory = self.settings.directory
            files.let_in([os.path.dirname(directory), directory, sandbox.directory], owner[1])
        files.write_files(
            sandbox.directory, dns=config.dns_config, hostname=record.hostname, owner=owner, label=record.mount_label
        )
        if sandbox.options.ipc != pb.NODE:
            files.mount_shm(record.shm_path, size=shm_size, label=record.mount_label, owner=owner)
        if record.linked_logs:
            linked_logs.mount_logs(record.linked_logs, config.log_directory, label=record.mount_label)

    async def _spawn_pause(self, sandbox: Sandbox) -> None:
        record = sandbox.record
        if record.uid_mappings:
            await self._pause.spawn_pause(
                lambda pid: _keep_pause(sandbox, pid), record.namespaces["user"], sandbox.id_maps.last
            )
        else:
            await self._pause.spawn_pause(lambda pid: _keep_pause(sandbox, pid))
        # A move into another cpuset forgets which CPUs a process was bound to (before Linux 6.2), so that is last.
        await self.groups.place(self._group(record), record.pause_pid, f"Pod {record.name}")
        _settle(record.pause_pid, self.settings.infra_cpus)

    def _group(self, record: SandboxRecord) -> str:
        """The pod's own group, for the process that may hold its PID namespace; cAdvisor looks for it in any case."""
        return self.groups.path(record.cgroup_parent, f"crio-{record.id}")

    def _parent(self, record: SandboxRecord) -> str:
        return self.groups.parent_path(record.cgroup_parent)

    async def _attach_network(self, job: Job, sandbox: Sandbox) -> None:
        pod = pod_network(sandbox, self._parent(sandbox.record))
        with job.step("pod network"):
            with job.step("network"):
                result = await self._network.add(pod)
                sandbox.record.ips = list(result.ips)
                sandbox.record.network_result = result.raw
            failpoint("sandbox.run.after_network")
            if pod.port_mappings and self._maps_host_ports():
                with job.step("host ports"):
                    await self._host_ports.add(sandbox.id, pod.port_mappings, result.ips)

    def _maps_host_ports(self) -> bool:
        return not self.settings.disable_hostport_mapping and not self._network.maps_ports()

    async def rebuild_host_ports(self) -> None:
        """Make the kernel's host port rules those of the pods that are here; for the daemon's start."""
        ready = [sandbox for sandbox in self if sandbox.ready] if self._maps_host_ports() else []
        pods = [(sandbox, pod_network(sandbox, "")) for sandbox in ready]
        await self._host_ports.rebuild(
            (pod.id, pod.port_mappings, sandbox.record.ips) for sandbox, pod in pods if pod.port_mappings
        )

    async def _detach_network(self, sandbox: Sandbox) -> None:
        await self._host_ports.remove(sandbox.id)
        await self._network.delete(pod_network(sandbox, self._parent(sandbox.record)))

    def _end_pause(self, record: SandboxRecord) -> None:
        if record.pause_pid:
            kill_process(record.pause_pid, record.pause_start)

    # Stopping

    async def stop(self, sandbox_id: str, deadline: float | None = None) -> None:
        """Stop the pod's containers and take down its network and namespaces. An unknown or stopped pod is fine.

        Raises InvalidArgument for an empty id, and what a step raises: the sandbox then is still READY, or partly
        stopped, and the next call goes on.
        """
        sandbox = self._lookup(sandbox_id)
        if sandbox is None or sandbox.record.stopped_at:
            return

        async def work(job: Job) -> None:
            async with sandbox.lock:
                await self._stop(job, sandbox)

        await self._jobs.run("StopPodSandbox", sandbox.name, work, key=f"pod-stop/{sandbox.id}", deadline=deadline)

    async def _stop(self, job: Job, sandbox: Sandbox) -> None:
        if sandbox.record.stopped_at:
            return
        sandbox.stopping = True
        if not sandbox.record.stopping:
            sandbox.record.stopping = True
            with even_if_full(f"a note that pod {sandbox.id[:12]} is being stopped"):
                sandbox.save()
        with job.step("creates"):
            await sandbox.quiet.wait()
        with job.step("containers"):
            await self.containers.stop_all(sandbox.id)
        await self._take_down(job, sandbox)
        sandbox.record.stopped_at = time.time_ns()
        with even_if_full(f"a note that pod {sandbox.id[:12]} is stopped"):
            sandbox.save()
        self.tell(pb.CONTAINER_STOPPED_EVENT, sandbox)
        log.info("= sandbox %s is NOTREADY (%s)", sandbox.id[:12], sandbox.name)

    async def _take_down(self, job: Job, sandbox: Sandbox) -> None:
        """Undo everything a run made but the directory; each step is fine when it was done before."""
        record = sandbox.record
        if record.linked_logs:
            # First, whatever hangs afterwards: the kubelet deletes what it finds in the volume.
            linked_logs.unmount_logs(record.linked_logs)
        if "net" in record.namespaces:
            with job.step("network"):
                await self._detach_network(sandbox)
        failpoint("sandbox.stop.after_network")
        with job.step("namespaces"):
            self._end_pause(record)
            if record.namespaces:
                await asyncio.to_thread(pins.unpin, dict(record.namespaces))
            if record.shm_path.startswith(sandbox.directory):
                files.unmount_shm(record.shm_path)
        failpoint("sandbox.stop.after_namespaces")

    # Removing

    async def remove(self, sandbox_id: str, deadline: float | None = None) -> None:
        """Remove the pod and its containers, stopping what runs. An unknown pod is fine."""
        sandbox = self._lookup(sandbox_id)
        if sandbox is None:
            return

        async def work(job: Job) -> None:
            async with sandbox.lock:
                if sandbox.id in self._by_id:
                    await self._stop(job, sandbox)
                    with job.step("containers"):
                        await self.containers.remove_all(sandbox.id)
                    await self._discard(sandbox)

        await self._jobs.run("RemovePodSandbox", sandbox.name, work, key=f"pod-remove/{sandbox.id}", deadline=deadline)

    async def _discard(self, sandbox: Sandbox) -> None:
        await self.groups.remove(self._group(sandbox.record))
        self.groups.drop_parent(sandbox.record.cgroup_parent)
        failpoint("sandbox.remove.before_directory")
        remove_directory(sandbox.directory, last=FILE)
        self.labels.release(sandbox.labels)
        if self._by_id.pop(sandbox.id, None) is not None:
            self.tell(pb.CONTAINER_DELETED_EVENT, sandbox)
        self._by_name.pop(sandbox.name, None)
        log.info("= sandbox %s is removed (%s)", sandbox.id[:12], sandbox.name)

    def _lookup(self, sandbox_id: str) -> Sandbox | None:
        try:
            return self.get(sandbox_id)
        except NotFound:
            return None

    # Updating

    async def update_resources(
        self, sandbox_id: str, overhead: pb.LinuxContainerResources, resources: pb.LinuxContainerResources
    ) -> None:
        """Keep a pod's new limits: containers made later see them. Raises NotFound."""
        sandbox = self.get(sandbox_id)
        async with sandbox.lock:
            self.get(sandbox.id)  # it may have been removed meanwhile
            config = pb.PodSandboxConfig.FromString(sandbox.record.config)
            config.linux.overhead.CopyFrom(overhead)
            config.linux.resources.CopyFrom(resources)
            sandbox.replace_config(config)

    # Recovery

    async def _undo_all(self, sandbox: Sandbox) -> None:
        job = Job("UndoPodSandbox", sandbox.name, sandbox.id, b"")
        await self._take_down(job, sandbox)
        await self._discard(sandbox)

    async def close(self) -> None:
        """Let go of what is kept for pods in general, if there are none. Pods go on."""
        directory = os.path.join(self.settings.namespaces_dir, "netns")
        if not self._by_id and not self.unfinished and os.path.isdir(directory):
            await asyncio.to_thread(namespaces.unshare_directory, directory)

    def check_can_create(self, sandbox: Sandbox) -> None:
        """Raise FailedPrecondition if no container may be created in the pod."""
        if sandbox.stopping or not sandbox.ready:
            raise FailedPrecondition(f"cannot create a container in pod {sandbox.id[:12]}: the pod is stopped")

    @contextlib.contextmanager
    def creating(self, sandbox: Sandbox) -> Iterator[None]:
        """Holds off the stop of the pod while a container is created in it. Raises as `check_can_create`."""
        self.check_can_create(sandbox)
        sandbox.creates += 1
        sandbox.quiet.clear()
        try:
            yield
        finally:
            sandbox.creates -= 1
            if not sandbox.creates:
                sandbox.quiet.set()


def _keep_pause(sandbox: Sandbox, pid: int) -> None:
    sandbox.record.pause_pid, sandbox.record.pause_start = pid, start_time(pid)
    sandbox.save()


def _settle(pid: int, cpus: Collection[int]) -> None:
    """What holds a pod together is the last to be killed for memory, and stays off the CPUs of the pods' work."""
    if cpus:
        try:
            os.sched_setaffinity(pid, cpus)
        except OSError as error:
            log.warning("infra_ctr_cpuset cannot be used: %s", error.strerror)
    for score in (_OOM_SCORE, 0):
        try:
            with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(score))
            return
        except PermissionError:
            # Without CAP_SYS_RESOURCE it cannot be lowered.
            continue
