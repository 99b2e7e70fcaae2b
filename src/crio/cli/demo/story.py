"""The steps of the demonstration."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from crio import __version__
from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, DeadlineExceeded, Internal
from crio.cli.crioctl import logfile
from crio.cli.crioctl.session import Session
from crio.cli.crioctl.settings import Settings
from crio.cli.crioctl.units import human_size
from crio.cli.demo import leftovers, observe, scratch
from crio.cli.demo.daemon import Daemon
from crio.cli.demo.display import Display, duration_text
from crio.cli.demo.host import Host, inspect
from crio.cli.demo.leftovers import Snapshot
from crio.cli.demo.scratch import Scratch

IMAGE = "localhost/crio-demo:latest"
PORT = 8080
GREETING = "Hello from a pod"
LOG_LINES = 4
MEMORY_LIMIT = 64 << 20
_SCRIPT = f"""
mkdir -p /srv && echo '{GREETING}' >/srv/index.html
httpd -f -p {PORT} -h /srv &
trap 'echo "asked to stop"; kill $!; exit 0' TERM
echo "I am process $$ of $(ls -d /proc/[0-9]* | wc -l) on $(hostname)"
echo "my user is $(id -un), my root has $(ls / | wc -l) directories"
echo "my address is $(ip -4 -o addr show eth0 | awk '{{print $4}}')"
echo "serving on port {PORT}"
wait
"""
# As a kubelet asks by default: containers of a pod share everything but the process tree.
_OWN = pb.NamespaceOption(pid=pb.CONTAINER)
_LOG_SECONDS = 20.0


@dataclass(slots=True)
class Facts:
    """What the steps hand on to later ones."""

    before: Snapshot
    forwarding: str
    files_before_pod: frozenset[str] = frozenset()
    pod_config: pb.PodSandboxConfig = field(default_factory=pb.PodSandboxConfig)
    pod_asked: bool = False
    pod: str = ""
    address: str = ""
    container: str = ""
    log_path: str = ""
    daemon_memory: int = 0
    monitor_memory: int = 0
    family: list[str] = field(default_factory=list)
    """Marks of the daemon's and the monitor's processes."""


class Story:
    """One run. `tell` does all of it and cleans up whatever happens."""

    def __init__(self, display: Display, place: Scratch, runtime: str, *, keep: bool = False) -> None:
        self._display, self._place, self._wanted, self._keep = display, place, runtime, keep
        self._daemon = Daemon(place)
        self._session = Session(
            Settings(runtime_endpoint=f"unix://{place.socket}", image_endpoint=f"unix://{place.socket}")
        )
        self._facts = Facts(Snapshot.take(), scratch.forwarding())

    async def tell(self) -> int:
        """The exit code: 0 if every step succeeded and nothing was left behind."""
        try:
            host = await asyncio.to_thread(inspect, self._place.directory, self._wanted)
            self._introduce(host)
            await self._begin(host)
            await self._image(host)
            await self._pod()
            await self._container()
            await self._look_inside()
            await self._end()
            await self._proof()
        except (CrioError, OSError) as error:
            self._display.failed(str(error), self._daemon.log_tail())
            await self._clean_up()
            return 1
        except BaseException:
            await asyncio.shield(self._clean_up())
            raise
        self._close()
        return 0

    def _introduce(self, host: Host) -> None:
        facts = [
            ("machine", f"Linux {platform.release()}, {os.cpu_count()} CPUs, control groups {host.cgroups}"),
            ("runtime", f"{host.runtime} {host.runtime_version}" + (f" ({host.note})" if host.note else "")),
            ("network", f"CNI bridge {self._place.bridge}, {self._place.subnet}"),
            ("directory", self._place.directory),
        ]
        self._display.title(f"CRI-O in Python {__version__}: the life of a pod", facts)

    # -- the steps

    async def _begin(self, host: Host) -> None:
        self._place.write(host)
        with self._display.step("start the daemon") as step:
            self._daemon.start()
            await self._daemon.wait_ready(self._session)
            step.result = f"ready, {human_size(self._daemon.memory(), 3)} resident"

    async def _image(self, host: Host) -> None:
        from crio.image.assemble import assemble_busybox_image  # lazy: brings tarfile

        layout = self._place.path("image")
        with self._display.step("assemble an image") as step:
            await asyncio.to_thread(assemble_busybox_image, layout, host.busybox, name=IMAGE)
            size = sum(os.path.getsize(path) for path in leftovers.files_below(layout) if os.path.isfile(path))
            step.result = f"{IMAGE}, {human_size(size, 3)}, from {host.busybox}"
        with self._display.step("load it into the store") as step:
            image = ""
            layers: dict[str, control_pb2.LayerProgress] = {}
            request = control_pb2.LoadRequest(path=layout, format="oci", names=[IMAGE])
            async for message in self._session.control.stream("Load", request, control_pb2.PullProgress):
                layers.update({layer.digest: layer for layer in message.layers})
                done, total = (sum(getattr(layer, key) for layer in layers.values()) for key in ("done", "size"))
                self._display.progress(done, total, "unpacked")
                image = message.image_id or image
            status = await self._session.images.call(
                "ImageStatus", pb.ImageStatusRequest(image=pb.ImageSpec(image=IMAGE)), pb.ImageStatusResponse
            )
            if not status.image.id or (image and status.image.id != image):
                raise Internal(f"cannot use the image: {IMAGE} is not in the store after the load")
            step.result = f"{status.image.id.removeprefix('sha256:')[:12]}, {human_size(status.image.size, 3)}"

    async def _pod(self) -> None:
        facts, place = self._facts, self._place
        facts.files_before_pod = frozenset(leftovers.files_below(place.directory))
        facts.pod_config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name="demo", namespace="default", uid=f"demo-{place.word}"),
            hostname="demo",
            log_directory=os.path.join(place.log_directory, "demo"),
            labels={"app": "demo", "io.kubernetes.pod.name": "demo", "io.kubernetes.pod.namespace": "default"},
            linux=pb.LinuxPodSandboxConfig(
                cgroup_parent=place.cgroup_parent,
                security_context=pb.LinuxSandboxSecurityContext(namespace_options=_OWN),
            ),
        )
        with self._display.step("run a pod sandbox") as step:
            request = pb.RunPodSandboxRequest(config=facts.pod_config)
            facts.pod_asked = True
            response = await self._session.runtime.call("RunPodSandbox", request, pb.RunPodSandboxResponse)
            facts.pod = response.pod_sandbox_id
            status = await self._session.runtime.call(
                "PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=facts.pod), pb.PodSandboxStatusResponse
            )
            facts.address = status.status.network.ip
            if not facts.address:
                raise Internal("cannot use the pod: it has no address")
            step.result = f"{facts.pod[:12]} with address {facts.address}"

    async def _container(self) -> None:
        facts = self._facts
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name="web"),
            image=pb.ImageSpec(image=IMAGE),
            command=["sh", "-c", _SCRIPT],
            log_path="web/0.log",
            labels={
                "io.kubernetes.container.name": "web",
                "io.kubernetes.pod.name": "demo",
                "io.kubernetes.pod.namespace": "default",
            },
            linux=pb.LinuxContainerConfig(
                resources=pb.LinuxContainerResources(memory_limit_in_bytes=MEMORY_LIMIT),
                security_context=pb.LinuxContainerSecurityContext(namespace_options=_OWN),
            ),
        )
        with self._display.step("create a container") as step:
            request = pb.CreateContainerRequest(
                pod_sandbox_id=facts.pod, config=config, sandbox_config=facts.pod_config
            )
            response = await self._session.runtime.call("CreateContainer", request, pb.CreateContainerResponse)
            facts.container = response.container_id
            step.result = facts.container[:12]
        with self._display.step("start the container") as step:
            start = pb.StartContainerRequest(container_id=facts.container)
            await self._session.runtime.call("StartContainer", start, pb.StartContainerResponse)
            status = await self._status()
            facts.log_path = status.log_path
            step.result = pb.ContainerState.Name(status.state).removeprefix("CONTAINER_").lower()
        with self._display.step("follow its log") as step:
            step.timed = False
            await self._follow_log()
            step.result = f"{LOG_LINES} lines"

    async def _follow_log(self) -> None:
        lines = observe.Lines(self._display.line)
        printer = logfile.Printer(logfile.Selection(), lines, lines)

        async def ticks() -> AsyncIterator[None]:
            async for each in logfile.every(0.02):
                if lines.count >= LOG_LINES:
                    return
                yield each

        async def running() -> bool:
            return (await self._status()).state == pb.CONTAINER_RUNNING

        try:
            async with asyncio.timeout(_LOG_SECONDS):
                reader = logfile.read(self._facts.log_path, printer)
                await logfile.follow(reader, self._facts.log_path, printer, running, ticks)
        except TimeoutError:
            raise DeadlineExceeded(
                f"cannot follow the log: {lines.count} of {LOG_LINES} lines after {_LOG_SECONDS:g} s"
            ) from None
        if lines.count < LOG_LINES:
            raise Internal(f"cannot follow the log: the container ended after {lines.count} of {LOG_LINES} lines")

    async def _look_inside(self) -> None:
        facts = self._facts
        with self._display.step("run a command in it") as step:
            command = ["sh", "-c", "echo $(id -un) at $(hostname), kernel $(uname -r)"]
            request = pb.ExecSyncRequest(container_id=facts.container, cmd=command, timeout=10)
            response = await self._session.runtime.call("ExecSync", request, pb.ExecSyncResponse)
            text = response.stdout.decode("utf-8", "replace").strip()
            if response.exit_code != 0 or "demo" not in text:
                error = response.stderr.decode("utf-8", "replace").strip()
                raise Internal(f"cannot run a command: exit code {response.exit_code}: {error or text}")
            step.result = text
        with self._display.step("reach it over its network") as step:
            answer = await observe.fetch(facts.address, PORT)
            if answer != GREETING:
                raise Internal(f"cannot reach the pod: it answered {answer[:80]!r}")
            step.result = f"http://{facts.address}:{PORT}/ says {answer!r}"
        with self._display.step("read its statistics") as step:
            wanted = pb.ContainerStatsRequest(container_id=facts.container)
            stats = (await self._session.runtime.call("ContainerStats", wanted, pb.ContainerStatsResponse)).stats
            step.result = (
                f"memory {human_size(stats.memory.working_set_bytes.value, 3)} of {human_size(MEMORY_LIMIT, 3)}, "
                f"CPU {duration_text(stats.cpu.usage_core_nano_seconds.value / 1e9)}, "
                f"disk {human_size(stats.writable_layer.used_bytes.value, 3)}"
            )
        facts.daemon_memory = self._daemon.memory()
        monitor = await self._monitor()
        facts.monitor_memory = observe.own_memory(monitor)
        facts.family = leftovers.family_marks(self._daemon.pid) + leftovers.family_marks(monitor)

    async def _end(self) -> None:
        facts, runtime = self._facts, self._session.runtime
        with self._display.step("stop the container") as step:
            stop = pb.StopContainerRequest(container_id=facts.container, timeout=5)
            await runtime.call("StopContainer", stop, pb.StopContainerResponse)
            status = await self._status()
            step.result = f"exit code {status.exit_code} ({status.reason})"
        with self._display.step("remove the container"):
            remove = pb.RemoveContainerRequest(container_id=facts.container)
            await runtime.call("RemoveContainer", remove, pb.RemoveContainerResponse)
        with self._display.step("stop the pod"):
            await runtime.call(
                "StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=facts.pod), pb.StopPodSandboxResponse
            )
        with self._display.step("remove the pod"):
            await runtime.call(
                "RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=facts.pod), pb.RemovePodSandboxResponse
            )
        with self._display.step("stop the daemon"):
            await self._session.close()
            await self._daemon.stop()

    async def _proof(self) -> None:
        facts, place = self._facts, self._place
        with self._display.step("look for leftovers") as step:
            step.timed = False
            # What stays for the next pod: the plug-in's bridge, the kubelet's cgroup, the daemon's own directories.
            place.remove_network()
            place.remove_cgroups()
            place.remove_base_mounts()
            scratch.set_forwarding(facts.forwarding)
            left = await asyncio.to_thread(self._left)
            if left:
                shown = [f"{kind}: {item}" for kind, items in left.items() for item in items]
                raise Internal(f"cannot end cleanly: {len(shown)} things are left: " + "; ".join(shown[:12]))
            after = self._after
            step.result = "none"
            for kind in leftovers.KINDS:
                if kind != "files":
                    self._display.line(f"{kind:<10} {after.count(kind):>5}, none of them ours")
            self._display.line("files      none below the scratch directory but the store's and the logs")
        if not self._keep:
            place.remove()

    # -- parts of steps

    def _left(self) -> dict[str, list[str]]:
        facts, place = self._facts, self._place
        marks = [place.word, facts.pod, facts.container, leftovers.cni_chain_mark(place.network, facts.pod)]
        marks += facts.family
        self._after = Snapshot.take()
        left = leftovers.new_things(facts.before, self._after, list(filter(None, marks)))
        files = frozenset(leftovers.files_below(place.directory)) - facts.files_before_pod
        ids = [each for each in (facts.pod, facts.container) if each]
        ours = [path for path in files if any(each in path for each in ids)]
        return left | ({"files": sorted(ours)} if ours else {})

    async def _status(self) -> pb.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=self._facts.container)
        return (await self._session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)).status

    async def _monitor(self) -> int:
        """The pid of the container's monitor: the parent of its first process."""
        request = pb.ContainerStatusRequest(container_id=self._facts.container, verbose=True)
        response = await self._session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)
        return observe.parent(json.loads(response.info["info"])["pid"])

    async def _clean_up(self) -> None:
        """After a failure: as much as still can be undone."""
        try:
            await self._remove_pods()
        except (CrioError, OSError):
            # It may have died with a pod under way: a new one takes over what is left, and can remove it.
            await self._daemon.kill()
            try:
                self._daemon.start()
                await self._daemon.wait_ready(self._session)
                await self._remove_pods()
            except (CrioError, OSError) as error:
                self._display.line(f"cannot clean up: {error}")
        await self._session.close()
        await self._daemon.kill()
        self._place.remove_network()
        self._place.remove_cgroups()
        self._place.remove_base_mounts()
        scratch.set_forwarding(self._facts.forwarding)
        left = await asyncio.to_thread(self._left)
        for kind, items in left.items():
            for item in items:
                self._display.line(f"left behind: {kind}: {item}")
        if not left and not self._keep:
            self._place.remove()
        else:
            self._display.line(f"kept for a look: {self._place.directory}")

    async def _remove_pods(self) -> None:
        if not self._facts.pod_asked:
            return
        runtime = self._session.runtime
        pods = await runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse, timeout=5)
        for pod in pods.items:
            stop = pb.StopPodSandboxRequest(pod_sandbox_id=pod.id)
            await runtime.call("StopPodSandbox", stop, pb.StopPodSandboxResponse, timeout=20)
            remove = pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id)
            await runtime.call("RemovePodSandbox", remove, pb.RemovePodSandboxResponse, timeout=20)

    def _close(self) -> None:
        facts = self._facts
        pod_up = sum(self._seconds(*("run a pod sandbox", "create a container", "start the container")))
        self._display.closing(
            [
                ("pod, from request to running", duration_text(pod_up)),
                ("memory of the daemon", f"{human_size(facts.daemon_memory, 3)} resident"),
                ("memory of the monitor", f"{human_size(facts.monitor_memory, 3)} of its own"),
                ("left behind", "nothing"),
            ]
        )

    def _seconds(self, *titles: str) -> list[float]:
        return [step.seconds for step in self._display.steps if step.title in titles]
