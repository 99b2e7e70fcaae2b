"""All containers of the node: finding them, starting, stopping and removing them. How one is made is in create.py."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import AlreadyExists, CrioError, FailedPrecondition, NotFound
from crio.base.failpoints import failpoint
from crio.base.files import even_if_full
from crio.base.ids import resolve_prefix
from crio.base.jobs import Job, JobTable
from crio.base.tasks import TaskScope
from crio.conmon.watch import LogState, Monitor
from crio.container.container import Container, State
from crio.container.create import ContainerMaker
from crio.container.events import Events
from crio.container.names import check_config, container_name
from crio.container.stop import shorten, stop_process
from crio.linux.pidfd import kill_process
from crio.runtime.driver import OciRuntime
from crio.runtime.exec_files import end_leftovers, leftovers
from crio.sandbox.manager import SandboxManager
from crio.sandbox.names import add_pod_labels

log = logging.getLogger(__name__)

_MONITOR_RETRY = 5.0
"""Seconds between two attempts to reach a monitor that does not answer."""


class ExitObserver(Protocol):
    """Counts what happened to containers."""

    def container_oom(self, name: str) -> None: ...

    def monitor_stopped(self, name: str) -> None: ...


class ContainerManager:
    """Finds, makes, starts, stops and removes containers."""

    def __init__(
        self,
        jobs: JobTable,
        sandboxes: SandboxManager,
        maker: ContainerMaker,
        events: Events,
        observer: ExitObserver,
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._observer = observer
        self._sandboxes = sandboxes
        self._maker = maker
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self._monitors: dict[str, Monitor] = {}
        self._watchers = TaskScope("container exits")

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def of_sandbox(self, sandbox_id: str) -> list[Container]:
        """The containers of a pod."""
        return [container for container in self._by_id.values() if container.record.sandbox_id == sandbox_id]

    def get(self, prefix: str) -> Container:
        """The container with this id or unambiguous id prefix. Raises NotFound, InvalidArgument."""
        container = self._by_id.get(prefix)
        return container if container is not None else self._by_id[resolve_prefix("container", prefix, self._by_id)]

    def monitor(self, container: Container) -> Monitor:
        """The container's monitor. Raises FailedPrecondition if it is gone."""
        monitor = self._monitors.get(container.id)
        if monitor is None:
            raise FailedPrecondition(f"cannot reach the monitor of container {container.short_id}: it has ended")
        return monitor

    def runtime(self, container: Container) -> OciRuntime:
        """The OCI runtime that the container was made with."""
        return self._maker.runtime(container.record)

    def group_directories(self, container: Container) -> list[str]:
        """Where a process of the container belongs, in every hierarchy: in its control group.

        With version 2, a group that hands controllers down takes no processes: where a runtime has made one below, as
        crun does in systemd's scopes, that of the first process is meant.
        """
        cgroups, path = self._maker.cgroups, container.record.cgroup_path
        if cgroups.version == 2:
            inner = cgroups.group_of(container.record.pid)
            if inner is not None and inner.startswith(f"{path}/"):
                path = inner
        return [root + path for root in cgroups.roots()]

    def expect_move(self) -> None:
        """A process is about to be moved into a container's group; see linux/cgroup/ahead.py."""
        self._maker.cgroups.expect_move()

    def adopt(self, container: Container, monitor: Monitor | None) -> None:
        """Take in a container, and watch for its end."""
        self._by_id[container.id] = container
        self._by_name[container.name] = container
        if monitor is not None and container.exit is None:
            self._monitors[container.id] = monitor
            monitor.on_log = partial(_tell_of_log, container)
            if monitor.log.failing:
                _tell_of_log(container, monitor.log)
            self._watchers.spawn(container.short_id, self._watch(container, monitor))
        if container.exit is not None:
            if monitor is not None:
                monitor.close()
            if container.exit.monitor_lost:
                self._monitor_lost(container)
            container.exited.set()

    def end_leftover_commands(self, container: Container) -> None:
        """End, meanwhile, what the daemon before this one was running in an adopted container for somebody."""
        if left := leftovers(container.directory):

            def is_ours(pid: int) -> bool:
                return self._maker.cgroups.is_in(container.record.cgroup_path, pid)

            self._watchers.spawn(container.short_id, end_leftovers(left, is_ours))

    def adopt_unreached(self, container: Container) -> None:
        """Take in a container whose monitor does not answer now. It is asked again until it does, or has ended."""
        self.adopt(container, None)
        self._watchers.spawn(container.short_id, self._reach(container))

    async def _reach(self, container: Container) -> None:
        while container.id in self._by_id:
            try:
                monitor, ended = await self._maker.reconnect(container)
            except CrioError as error:
                log.debug("container %s: %s", container.short_id, error.message)
                await asyncio.sleep(_MONITOR_RETRY)
                continue
            if container.id not in self._by_id:
                monitor.close()
                return
            log.info("the monitor of container %s answers again", container.short_id)
            container.exit = ended
            self.adopt(container, monitor)
            if ended is not None:
                self._tell(pb.CONTAINER_STOPPED_EVENT, container)
            return

    async def _watch(self, container: Container, monitor: Monitor) -> None:
        ended = await monitor.wait()
        if ended.monitor_lost:
            self._monitor_lost(container)
        container.exit = ended
        self._maker.notifiers.close(container.id)
        self._monitors.pop(container.id, None)
        monitor.close()
        if not container.record.started_at:
            with contextlib.suppress(FailedPrecondition):
                self.runtime(container).release_start(container.id)
        if not container.record.own_pid_namespace:
            # Without a PID namespace of its own, the end of the first process does not end the others.
            await self._end_rest(container)
        container.exited.set()
        if ended.oom_killed:
            self._observer.container_oom(container.name)
        if container.record.starting_at and not (container.record.started_at or container.record.start_error):
            # Its life was shorter than the call that began it, which tells of that first.
            async with container.lock:
                pass
        self._tell(pb.CONTAINER_STOPPED_EVENT, container)
        log.info(
            "= container %s is EXITED with code %d (%s)", container.short_id, container.exit_code, container.reason
        )

    def _monitor_lost(self, container: Container) -> None:
        """Without its monitor a container has no log and no exit code any more: end it, and keep when that was."""
        self._observer.monitor_stopped(container.name)
        log.error("the monitor of container %s is dead; the container is ended", container.short_id)
        kill_process(container.record.pid, container.record.pid_start)
        if not container.record.lost_at:
            container.record.lost_at = time.time_ns()
            with even_if_full(f"a note of the end of container {container.short_id}"):
                container.save()

    def _tell(self, kind: pb.ContainerEventType.ValueType, container: Container) -> None:
        sandbox = self._sandboxes.find(container.record.sandbox_id)
        if sandbox is not None:
            self._events.tell(kind, container.id, sandbox)

    async def _end_rest(self, container: Container) -> None:
        try:
            await self.runtime(container).kill(container.id, 9, every=True)
        except CrioError as error:
            log.debug("processes of container %s: %s", container.short_id, error)

    # Creating

    async def create(self, sandbox_id: str, config: pb.ContainerConfig, deadline: float | None = None) -> Container:
        """Make a container in state CREATED. The same request again gets the same container.

        Raises InvalidArgument, NotFound (pod or image), FailedPrecondition (pod stopped), AlreadyExists if the name is
        taken by a container that was asked for differently, and whatever a step raises: then nothing is left.
        """
        check_config(config)
        sandbox = self._sandboxes.get(sandbox_id)
        self._sandboxes.check_can_create(sandbox)
        name = container_name(config.metadata, sandbox.config.metadata)
        fingerprint = hashlib.sha256(sandbox.id.encode() + config.SerializeToString(deterministic=True)).digest()
        existing = self._by_name.get(name)
        if existing is not None:
            if existing.record.fingerprint == fingerprint and existing.state is State.CREATED:
                return existing
            raise AlreadyExists(
                f"cannot create container {config.metadata.name}: container {existing.short_id} has its name {name} "
                f"already and is {existing.state.name}; remove it or ask for the next attempt"
            )

        kept = pb.ContainerConfig()
        kept.CopyFrom(config)
        add_pod_labels(kept.labels, sandbox.config.metadata)
        kept.labels.setdefault("io.kubernetes.container.name", config.metadata.name)
        data = kept.SerializeToString(deterministic=True)

        async def work(job: Job) -> Container:
            with self._sandboxes.creating(sandbox):
                container, monitor = await self._maker.make(job, sandbox, name, kept, data, fingerprint)
                self.adopt(container, monitor)
                self._tell(pb.CONTAINER_CREATED_EVENT, container)
                return container

        return await self._jobs.run(
            "CreateContainer", name, work, key=f"container/{name}", fingerprint=fingerprint, deadline=deadline
        )

    # Starting

    async def start(self, container_id: str, deadline: float | None = None) -> None:
        """Let the created container run. Raises FailedPrecondition unless it is CREATED.

        If the runtime can't start it the container becomes EXITED with code 128 and the error is raised.
        """
        container = self.get(container_id)
        if container.state is State.EXITED:
            # Also where a start is under way that a stop has overtaken: whoever asks now must not join it.
            raise _not_created(container)

        async def work(job: Job) -> None:
            with job.step("runtime start"):
                await self._start(container)

        await self._jobs.run("StartContainer", container.name, work, key=f"start/{container.id}", deadline=deadline)

    async def _start(self, container: Container) -> None:
        async with container.lock:
            if container.state is not State.CREATED:
                raise _not_created(container)
            started_at = container.record.starting_at = time.time_ns()
            container.save()
            failpoint("container.start.before_runtime")
            try:
                await self.runtime(container).start(container.id)
                failpoint("container.start.after_runtime")
            except CrioError as error:
                if container.execs_refused:
                    # How it ends is the stop's business, and must not be told in two ways.
                    raise FailedPrecondition(
                        f"cannot start container {container.short_id}: it is being stopped"
                    ) from error
                container.record.start_error = error.message
                with even_if_full(f"a note that container {container.short_id} was not started"):
                    container.save()
                await self._end_rest(container)
                raise
            container.record.started_at = started_at
            # Without it the next daemon asks the runtime.
            with even_if_full(f"a note that container {container.short_id} was started"):
                container.save()
        self._tell(pb.CONTAINER_STARTED_EVENT, container)
        log.info("= container %s is RUNNING (%s)", container.short_id, container.name)

    # Stopping

    async def stop(self, container_id: str, timeout: float, deadline: float | None = None) -> None:
        """End the container: its stop signal, after `timeout` seconds SIGKILL. An unknown or ended one is fine.

        A call that comes while another stops the container joins it, and may bring the kill forward.
        """
        try:
            container = self.get(container_id)
        except NotFound:
            return
        if container.exited.is_set():
            return
        shorten(container, timeout)

        async def work(job: Job) -> None:
            with job.step("signal"):
                await stop_process(container, self.runtime(container), self._maker.cgroups, self._maker.stop_patience)

        await self._jobs.run("StopContainer", container.name, work, key=f"stop/{container.id}", deadline=deadline)

    def stop_soon(self, container: Container) -> None:
        """End the container at once, without waiting for it."""
        self._watchers.spawn(container.short_id, self.stop(container.id, 0))

    async def stop_all(self, sandbox_id: str) -> None:
        """End all containers of a pod at once, as the CRI has it: the kubelet has stopped them gracefully before.

        Without a deadline: others than the first caller may be waiting for the pod's stop.
        """
        containers = self.of_sandbox(sandbox_id)
        stops = (self.stop(container.id, 0) for container in containers)
        results = await asyncio.gather(*stops, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    # Removing

    async def remove(self, container_id: str, deadline: float | None = None) -> None:
        """Remove the container and its writable layer, ending it first. An unknown one is fine."""
        try:
            container = self.get(container_id)
        except NotFound:
            return

        async def work(job: Job) -> None:
            if container.id not in self._by_id:
                return
            with job.step("stop"):
                await self.stop(container.id, 0)
            async with container.lock:
                await self._maker.unmake(job, container)
            self._by_id.pop(container.id, None)
            self._by_name.pop(container.name, None)
            self._tell(pb.CONTAINER_DELETED_EVENT, container)
            log.info("= container %s is removed (%s)", container.short_id, container.name)

        await self._jobs.run("RemoveContainer", container.name, work, key=f"remove/{container.id}", deadline=deadline)

    async def remove_all(self, sandbox_id: str) -> None:
        """Remove all containers of a pod, side by side."""
        await asyncio.gather(*(self.remove(container.id) for container in self.of_sandbox(sandbox_id)))

    # While it runs

    async def update_resources(self, container_id: str, resources: pb.LinuxContainerResources) -> None:
        """Change the limits of a created or running container; what is not given stays as it is.

        Raises NotFound, FailedPrecondition for an ended one, InvalidArgument for a limit that cannot be.
        """
        container = self.get(container_id)
        async with container.lock:
            if container.state is State.EXITED:
                raise FailedPrecondition(f"cannot update container {container.short_id}: it has ended")
            update = self._maker.plan_update(container, resources)
            await self.runtime(container).update(container.id, update.document)
            if update.lifts_cpu_quota:
                self._maker.cgroups.lift_cpu_quota(container.record.cgroup_path)
            container.record.resources = update.resources.SerializeToString()
            container.save()

    async def reopen_log(self, container_id: str) -> None:
        """Go on in a new log file, after the old one was renamed. Raises FailedPrecondition unless it runs."""
        container = self.get(container_id)
        if not container.running:
            raise FailedPrecondition(
                f"cannot reopen the log of container {container.short_id}: it is {container.state.name}, not RUNNING"
            )
        await self.monitor(container).reopen_log()

    async def pause(self, container_id: str, *, frozen: bool) -> None:
        """Freeze the container's processes, or let them go on. Raises FailedPrecondition unless it runs."""
        container = self.get(container_id)
        if not container.running:
            raise FailedPrecondition(f"cannot pause container {container.short_id}: it is {container.state.name}")
        runtime = self.runtime(container)
        await (runtime.pause(container.id) if frozen else runtime.resume(container.id))

    async def close(self) -> None:
        """Stop watching. The containers and their monitors go on."""
        self._maker.notifiers.close_all()
        await self._watchers.stop()
        for monitor in self._monitors.values():
            monitor.close()


def _not_created(container: Container) -> FailedPrecondition:
    return FailedPrecondition(f"cannot start container {container.short_id}: it is {container.state.name}, not CREATED")


def _tell_of_log(container: Container, state: LogState) -> None:
    if state.failing:
        log.warning(
            "the log of container %s cannot be written, and output is dropped: %s; %s",
            container.short_id,
            state.error,
            container.record.log_path,
        )
    else:
        log.warning(
            "the log of container %s is written again; %d bytes of output are not in it",
            container.short_id,
            state.dropped,
        )
