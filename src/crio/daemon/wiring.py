"""The one place that names the concrete classes of all rooms, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from crio import __version__
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base import logs
from crio.base.errors import AlreadyExists, Unavailable
from crio.base.executor import Executor
from crio.base.files import even_if_full
from crio.base.jobs import JobTable
from crio.base.tasks import TaskScope
from crio.config import Config, LoadedConfig, default_config, load, marks
from crio.config.printer import print_config
from crio.config.validate import parse_cpuset
from crio.conmon.client import ZygoteClient
from crio.container.create import ContainerMaker, MakerRooms, MakerSettings
from crio.container.events import Events
from crio.container.exec import Execs
from crio.container.image_mounts import user_of_artifact
from crio.container.manager import ContainerManager
from crio.container.notifiers import Notifiers
from crio.container.spec_inputs import SpecInputs
from crio.container.stored import mapped_ids
from crio.cri.node import Node
from crio.cri.table import methods
from crio.daemon.control import control_methods
from crio.daemon.described import Described
from crio.daemon.inspect import Inspect
from crio.daemon.observation import Observation
from crio.daemon.recovery import Recovery
from crio.daemon.reload import Reloader
from crio.daemon.store_start import open_store, outdated_images, remove_images
from crio.image.service import ImageService
from crio.inject.cdi import CdiRegistry
from crio.inject.hooks import HookDirectories
from crio.linux import cgroup
from crio.linux.sync import sync_file_systems
from crio.network import hostport
from crio.network.hostport import HostPorts
from crio.network.manager import Network, TimeLimits
from crio.rpc.client import Client
from crio.rpc.server import Server
from crio.runtime.handlers import Runtimes
from crio.sandbox.labels import PodLabels
from crio.sandbox.manager import SandboxManager, SandboxSettings
from crio.sandbox.port_forward import PodConnector
from crio.sandbox.pull_groups import WorkerGroups
from crio.security import apparmor
from crio.security.host import gather
from crio.security.seccomp import SeccompProfiles
from crio.stats.layers import Layers
from crio.stats.podmetrics import PodMetrics
from crio.stats.reader import StatsReader
from crio.storage.options import StoreOptions
from crio.storage.options import load as load_store_options
from crio.streaming.server import StreamingServer, TlsFiles
from crio.wire.sd_notify import Notifier

log = logging.getLogger(__name__)

_STORAGE_THREADS = 4
_STOP_GRACE = 10.0
_CHORES_INTERVAL = 15.0
_ANSWER_TIMEOUT = 20.0


class Daemon:
    """All rooms of one daemon."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._tasks = TaskScope("daemon")
        self._at_stop = contextlib.AsyncExitStack()
        self._reloader: Reloader | None = None
        config = loaded.config
        state = config.runtime.container_attach_socket_dir
        self._state = state
        self._persistent = os.path.dirname(config.crio.clean_shutdown_file) or "/var/lib/crio"
        self._pod_root = os.path.join(self._persistent, "pod-root")
        self._observation = Observation(config)
        self._jobs = JobTable()
        self._jobs.observer = self._observation.stage
        self._jobs.on_stalled = self._observation.metrics.stalled
        self._events = Events(self._observation.metrics.events_dropped)
        self._storage = Executor("storage", _STORAGE_THREADS)
        self._cgroups = cgroup.detect()
        self._host = gather(self._cgroups)
        self._seccomp = SeccompProfiles(config.runtime.seccomp_profile, defer=_in_a_thread)
        self._zygote = ZygoteClient()
        self._network = Network(
            config.network.network_dir,
            config.network.plugin_dirs,
            _cni_cache_directory(self._persistent),
            default_network=config.network.cni_default_network,
            state_dir=os.path.join(self._persistent, "network"),
            status_grace_period=config.network.cni_status_grace_period,
            limits=TimeLimits(add=config.network.cni_add_timeout, delete=config.network.cni_del_timeout),
            observer=self._observation.plugin_called,
        )
        self._host_ports = HostPorts(_host_port_table(self._persistent))

    async def start(self) -> None:
        """Take the lock, build and start every room, take up what an earlier run left, and serve."""
        config = self._config
        for directory in ("", "sandboxes", "containers"):
            os.makedirs(os.path.join(self._state, directory), mode=0o700, exist_ok=True)
        # cAdvisor appends "diff" to an overlay's root, and wants to find a directory on a disk there.
        pod_root = os.path.join(self._pod_root, "diff")
        for path in (config.runtime.container_exits_dir, self._persistent, config.crio.log_dir, pod_root):
            os.makedirs(path, mode=0o755, exist_ok=True)
        self._take_lock()
        last = marks.last_run(config.crio, __version__)
        self._runtimes = Runtimes(config.runtime, self._observation.runtime_called)
        self._at_stop.push_async_callback(self._zygote.stop)
        self._at_stop.push_async_callback(self._network.stop)
        await _all(
            self._zygote.start(),
            self._runtimes.probe(),
            self._network.start(),
            apparmor.load_default(config.runtime.apparmor_profile),
            self._open_store(last),
        )
        outdated = outdated_images(self._store, config.crio, last)
        self._build()
        await self._recover()
        if outdated:
            await self._storage.run(remove_images, self._store, outdated)
        self._reloader = self._make_reloader()
        await self._serve()
        self._tasks.spawn("chores", self._chores())

    async def _open_store(self, last: marks.LastRun) -> None:
        config = self._config
        self._store = await self._storage.run(open_store, _store_options(config), config.crio, last)
        self._at_stop.push_async_callback(self._close_store)
        self._images = ImageService(config, self._store, self._storage, self._jobs, self._observation.metrics)
        self._at_stop.push_async_callback(self._images.stop)
        await self._images.start()

    async def _close_store(self) -> None:
        await asyncio.to_thread(self._storage.close)
        self._store.close()
        places = (self._store.options.graphroot, self._store.image_place, self._persistent)
        try:
            await asyncio.to_thread(sync_file_systems, places)
        except OSError as error:
            log.error("the stop is not noted as a clean one: cannot write the store to its disk: %s", error.strerror)
            return
        with even_if_full("a note that the stop was clean"):
            marks.note_clean_stop(self._config.crio)

    def _take_lock(self) -> None:
        """One daemon per state directory, whatever its socket: two would undo each other's pods."""
        path = os.path.join(self._state, "crio.lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._at_stop.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyExists(
                f"cannot start: another crio runs with the state directory {self._state}; stop it, or set "
                "container_attach_socket_dir to another directory"
            ) from None

    def _build(self) -> None:
        config = self._config
        runtime = config.runtime
        self._sandboxes = SandboxManager(
            self._sandbox_settings(config),
            self._jobs,
            self._cgroups,
            self._network,
            self._host_ports,
            self._zygote,
            PodLabels(self._host.selinux),
        )
        self._cdi = CdiRegistry(runtime.cdi_spec_dirs)
        self._hooks = HookDirectories(runtime.hooks_dir)
        notifiers = Notifiers(self._observation.metrics.seccomp_notified)
        settings = MakerSettings(os.path.join(self._state, "containers"), runtime.container_exits_dir)
        inputs = SpecInputs(
            host=self._host,
            labels=self._sandboxes.labels,
            seccomp=self._seccomp,
            cdi=self._cdi,
            hooks=self._hooks,
            notifier_directory=settings.notifier_directory,
            config=lambda: self._config,
            find_container=lambda container_id: self._containers.get(container_id),
        )
        self._maker = ContainerMaker(
            settings,
            MakerRooms(
                host=self._host,
                cgroups=self._cgroups,
                groups=self._sandboxes.groups,
                store=self._store,
                storage=self._storage,
                images=self._images,
                runtimes=self._runtimes,
                zygote=self._zygote,
                inputs=inputs,
                labels=self._sandboxes.labels,
                notifiers=notifiers,
            ),
            lambda: self._config,
        )
        self._containers = ContainerManager(
            self._jobs, self._sandboxes, self._maker, self._events, self._observation.metrics
        )
        for room in (self._sandboxes, self._containers, self._maker):
            self._at_stop.push_async_callback(room.close)
        self._at_stop.push_async_callback(self._jobs.stop, _STOP_GRACE)
        self._at_stop.push_async_callback(self._observation.stop)
        self._sandboxes.containers = self._containers
        self._sandboxes.ids_in_store = lambda: mapped_ids(self._store.containers())
        self._images.workers.groups = WorkerGroups(self._sandboxes.groups, self._cgroups)
        self._images.artifacts.user_of = lambda artifact_id: user_of_artifact(self._containers, artifact_id)
        self._sandboxes.tell = lambda kind, sandbox: self._events.tell(kind, sandbox.id, sandbox)
        notifiers.stop = self._containers.stop_soon
        self._execs = Execs(self._containers, self._zygote)
        self._streams = StreamingServer(
            executor=self._execs,
            attacher=self._execs,
            port_forwarder=PodConnector(self._sandboxes),
            address=config.api.stream_address,
            port=int(config.api.stream_port),
            tls_files=_tls_files(config),
            idle_timeout=config.api.stream_idle_timeout,
        )
        self._layer_sizes = Layers(self._store, self._storage)
        self.node = Node(
            config=lambda: self._config,
            config_text=lambda: print_config(self._config, default_config(), all_written=True, comments=False),
            host=self._host,
            jobs=self._jobs,
            sandboxes=self._sandboxes,
            containers=self._containers,
            execs=self._execs,
            events=self._events,
            streams=self._streams,
            images=self._images,
            network=self._network,
            runtimes=self._runtimes,
            stats=StatsReader(
                self._cgroups,
                self._containers,
                self._layer_sizes,
                lambda: self._config.stats.collection_period or self._config.stats.stats_collection_period,
            ),
            pod_metrics=PodMetrics(
                self._cgroups,
                self._containers,
                self._layer_sizes,
                self._storage,
                lambda: self._config.stats.included_pod_metrics,
            ),
        )

    async def _recover(self) -> None:
        recovery = Recovery(self._sandboxes, self._containers, self._maker, self._network)
        found = await recovery.run()
        log.info(
            "found %d sandboxes and %d containers of an earlier run, removed %d leftovers",
            found.sandboxes,
            found.containers,
            found.undone,
        )
        await self._sandboxes.rebuild_host_ports()
        for sandbox_id in found.stopping:
            self._tasks.spawn(f"stop of {sandbox_id[:12]}", self._sandboxes.stop(sandbox_id))
        with even_if_full("the files that tell the next start of this one"):
            marks.note_start(self._config.crio, __version__)

    async def _serve(self) -> None:
        config, flags = self._config, self._loaded.flags
        self._inspect = Inspect(
            self.node,
            Described(self.node, self._state, self._pod_root),
            self._observation.tracer,
            profiles=bool(flags.get("enable-profile-unix-socket") or flags.get("profile")),
        )
        self._server = Server(
            methods(self.node) | control_methods(self.node),
            http_handler=self._inspect.handle,
            interceptors=[self._observation.call],
            max_receive=config.api.grpc_max_recv_msg_size,
            max_send=config.api.grpc_max_send_msg_size,
        )
        self._at_stop.push_async_callback(self._layer_sizes.close)
        self._at_stop.push_async_callback(self.node.stats.close)
        self._at_stop.push_async_callback(self._streams.stop)
        self._at_stop.push_async_callback(self._server.stop, _STOP_GRACE)
        self._at_stop.callback(self._events.close)
        watch = self._observation.metrics.watch
        watch("crio_rpc_connections", "Connections to the socket.", lambda: self._server.statistics()["connections"])
        watch("crio_rpc_calls", "Calls that run.", lambda: self._server.statistics()["calls"])
        watch("crio_stream_sessions", "Execs, attaches, forwards.", lambda: self._streams.statistics()["sessions"])
        await self._streams.start()
        await self._server.listen(config.api.listen)
        await self._observation.start()
        if self._loaded.flags.get("profile"):
            from crio.daemon.profiling import serve_profiles  # lazy: only for whoever looks for what is slow

            port = str(self._loaded.flags.get("profile-port") or "6060")
            profiles = await serve_profiles(self._inspect.handle_debug, port)
            self._at_stop.callback(profiles.close)

    async def _chores(self) -> None:
        while True:
            await asyncio.sleep(_CHORES_INTERVAL)
            await self._maker.unfinished.retry()
            await self._sandboxes.unfinished.retry()

    # Reload

    def reload_soon(self, notifier: Notifier) -> None:
        """SIGHUP: read and check the whole configuration, then swap it as one; a bad one changes nothing."""
        if self._reloader is not None:
            self._tasks.spawn("reload", self._reload(self._reloader, notifier))
        else:
            log.info("the configuration is not reloaded: the daemon is still starting, and has just read it")

    async def _reload(self, reloader: Reloader, notifier: Notifier) -> None:
        notifier.reloading()
        how = "the configuration was not reloaded; the log tells why"
        try:
            plan = await reloader.reload()
            if plan is None:
                how = "the configuration was not reloaded, because it has mistakes"
            else:
                how = f"configuration reloaded, {len(plan.live)} changes, {len(plan.pending)} more need a restart"
                await self._runtimes.probe()
        finally:
            # systemd takes no other request while a reload lasts.
            notifier.ready(f"serving on {self._config.api.listen}; {how}")

    def _make_reloader(self) -> Reloader:
        loaded = self._loaded

        async def load_apparmor_profile(config: Config) -> None:
            await apparmor.load_default(config.runtime.apparmor_profile)

        return Reloader(
            lambda: load(loaded.flags, os.environ, loaded.config_path, loaded.config_dir),
            lambda: self._config,
            (load_apparmor_profile,),
            (
                lambda config: self._seccomp.set_default(config.runtime.seccomp_profile),
                lambda config: self._runtimes.replace(config.runtime),
                self._images.reload,
                self._observation.reload,
                self._reload_network,
                self._reload_streams,
                self._reload_settings,
            ),
        )

    def _reload_network(self, config: Config) -> None:
        network = config.network
        self._network.reconfigure(network.network_dir, network.plugin_dirs, network.cni_default_network)

    def _reload_streams(self, config: Config) -> None:
        self._streams.reconfigure(_tls_files(config), config.api.stream_idle_timeout)

    def _reload_settings(self, config: Config) -> None:
        """What cannot fail; the last of all."""
        logs.set_level(config.runtime.log_level)
        logs.set_filter(config.runtime.log_filter)
        self._sandboxes.settings = self._sandbox_settings(config)
        self._cdi.set_directories(config.runtime.cdi_spec_dirs)
        self._hooks.set_directories(config.runtime.hooks_dir)
        self._config = config

    def _sandbox_settings(self, config: Config) -> SandboxSettings:
        runtime = config.runtime
        return SandboxSettings(
            directory=os.path.join(self._state, "sandboxes"),
            namespaces_dir=runtime.namespaces_dir,
            cgroup_manager=runtime.cgroup_manager,
            handlers=runtime.runtimes,
            default_runtime=runtime.default_runtime,
            default_sysctls=tuple(runtime.default_sysctls),
            disable_hostport_mapping=runtime.disable_hostport_mapping,
            lowest_uid=runtime.minimum_mappable_uid,
            lowest_gid=runtime.minimum_mappable_gid,
            workloads=runtime.workloads,
            infra_cpus=parse_cpuset(runtime.infra_ctr_cpuset) if runtime.infra_ctr_cpuset else frozenset(),
            unconfined_on_host_network=runtime.hostnetwork_disable_selinux,
        )

    # Stopping

    async def answers(self) -> None:
        """Ask the daemon for its Status over its own socket, as a kubelet does; for the watchdog.

        Raises CrioError if there is no answer, or not the one of a runtime that is ready.
        """
        client = Client(f"unix://{self._config.api.listen}")
        try:
            status = await client.unary(
                "/runtime.v1.RuntimeService/Status", pb.StatusRequest(), pb.StatusResponse, _ANSWER_TIMEOUT
            )
        finally:
            await client.close()
        if not any(condition.type == "RuntimeReady" and condition.status for condition in status.status.conditions):
            raise Unavailable("the runtime does not say that it is ready")

    async def stop(self) -> None:
        """Stop serving and let go of everything, last what was first started; of a start that failed, what there is.

        Pods, containers and their monitors go on.
        """
        async with self._at_stop:
            await self._tasks.stop()


def _store_options(config: Config) -> StoreOptions:
    return load_store_options(
        graphroot=config.crio.root,
        runroot=config.crio.runroot,
        driver=config.crio.storage_driver,
        driver_options=config.crio.storage_option,
        imagestore=config.crio.imagestore,
    )


async def _all(*steps: Coroutine[Any, Any, object]) -> None:
    """Do steps at the same time that do not need each other. The first failure is raised when all have ended."""
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _in_a_thread(work: Callable[[], object]) -> None:
    asyncio.get_running_loop().run_in_executor(None, work)


def _host_port_table(persistent: str) -> str:
    """The nftables tables of the node's daemon have the plain name; one with its own state must not empty them."""
    if persistent == "/var/lib/crio":
        return hostport.TABLE
    return f"{hostport.TABLE}_{zlib.crc32(persistent.encode()):08x}"


def _cni_cache_directory(persistent: str) -> str:
    """Where libcni and its users keep results of attachments; a daemon with its own state has its own."""
    return "/var/lib/cni" if persistent == "/var/lib/crio" else os.path.join(persistent, "cni")


def _tls_files(config: Config) -> TlsFiles | None:
    api = config.api
    if not api.stream_enable_tls:
        return None
    return TlsFiles(
        api.stream_tls_cert, api.stream_tls_key, api.stream_tls_ca, api.tls_min_version, api.tls_cipher_suites
    )
