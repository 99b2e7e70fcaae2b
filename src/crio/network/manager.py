"""Attaching pods to the default CNI network and detaching them, so that nothing stays behind whatever happens between.

An attachment is recorded before its first plug-in runs and forgotten after its last one is undone. An ADD that fails or
is cancelled is undone at once; what cannot be undone stays recorded, and `delete` or `collect_garbage` tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument, Unavailable
from crio.base.failpoints import failpoint
from crio.base.regex import regex
from crio.base.tasks import TaskScope
from crio.linux.namespaces import is_pinned
from crio.network.attachments import Attachment, AttachmentStore
from crio.network.cache import CachedResult, ResultCache, cached
from crio.network.chain import Chain, Target
from crio.network.plugin import Observer
from crio.network.pod import (
    INTERFACE,
    Bandwidth,
    NetworkResult,
    PodNetwork,
    PortMapping,
    capability_arguments,
    cni_arguments,
)
from crio.network.readiness import NetworkStatus, Readiness
from crio.network.selection import BuiltinMode, PluginSelection
from crio.network.watch import DirectoryWatcher
from crio.spec.cni import NetworkConfig, parse_network, parse_result

__all__ = ["Bandwidth", "Network", "NetworkResult", "NetworkStatus", "PodNetwork", "PortMapping", "TimeLimits"]

log = logging.getLogger(__name__)

_ID = regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,127}")
_CHECKS_AT_ONCE = 8


class TimeLimits(msgspec.Struct, frozen=True):
    """Seconds that all plug-ins of a network together may take for one verb."""

    add: float = 300.0
    delete: float = 60.0
    check: float = 60.0
    status: float = 10.0
    collect_garbage: float = 30.0


_DEFAULT_LIMITS = TimeLimits()


class Network:
    """The network of the node's pods.

    `cache_dir` is libcni's (results of attachments), `state_dir` holds this project's own records and must outlive a
    reboot. `observer` is told of every plug-in call. `start` before use, `stop` at the end.
    """

    def __init__(
        self,
        network_dir: str,
        plugin_dirs: Sequence[str],
        cache_dir: str = "/var/lib/cni",
        *,
        state_dir: str = "/var/lib/crio/network",
        default_network: str = "",
        status_grace_period: float = 0.0,
        limits: TimeLimits = _DEFAULT_LIMITS,
        builtin: BuiltinMode = "auto",
        observer: Observer | None = None,
    ) -> None:
        self.limits = limits
        self.observer = observer
        self._places = (network_dir, tuple(plugin_dirs), default_network)
        self._selection = PluginSelection(plugin_dirs, builtin)
        self._readiness = Readiness(
            network_dir, default_network, self._selection, self._ask_status, status_grace_period
        )
        self._watcher = DirectoryWatcher([network_dir, *plugin_dirs], self._readiness.look_again)
        self._cache = ResultCache(cache_dir)
        self._attachments = AttachmentStore(state_dir)
        self._tasks = TaskScope("network")
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._gate = _Gate()
        self._made_here: set[str] = set()

    async def start(self) -> None:
        """Read the configuration and follow its changes. A missing or broken network is a status, not an error."""
        for records in (self._cache, self._attachments):
            records.remove_unfinished()
        self._watcher.start()
        await self._readiness.reload()
        self._tasks.spawn("readiness", self._readiness.run())

    async def stop(self) -> None:
        self._watcher.stop()
        await self._tasks.stop()

    def reconfigure(self, network_dir: str, plugin_dirs: Sequence[str], default_network: str) -> None:
        """Look for networks and plug-ins elsewhere from now on. Pods are detached with what they were attached with.

        Raises OSError if they cannot be watched (fs.inotify.max_user_instances); then nothing has changed.
        """
        if (wanted := (network_dir, tuple(plugin_dirs), default_network)) == self._places:
            return
        watcher = DirectoryWatcher([network_dir, *plugin_dirs], self._readiness.look_again)
        watcher.start()
        self._watcher.stop()
        self._watcher = watcher
        self._places = wanted
        self._selection.directories = tuple(plugin_dirs)
        self._readiness.reconfigure(network_dir, default_network)
        self._readiness.look_again()

    async def reload(self) -> None:
        """Read the configuration now instead of when a change is noticed."""
        await self._readiness.reload()

    @property
    def plugin_dirs(self) -> Sequence[str]:
        """Where plug-in programs are looked for."""
        return self._places[1]

    def status(self) -> NetworkStatus:
        """As last judged; costs nothing."""
        return self._readiness.status()

    def default_network(self) -> str:
        """The name of the network that pods get, or ""."""
        chosen = self._readiness.chosen
        return "" if chosen is None else chosen.config.name

    def maps_ports(self) -> bool:
        """Whether the network itself maps host ports (a plug-in with the capability portMappings)."""
        chosen = self._readiness.chosen
        return chosen is not None and any("portMappings" in item.capabilities for item in chosen.config.plugins)

    async def add(self, pod: PodNetwork) -> NetworkResult:
        """Attach the pod. Raises Unavailable without a network, PluginFailed, InvalidArgument; then nothing is left.

        A pod that is attached already is FailedPrecondition: detach it first.
        """
        if not _ID.fullmatch(pod.id):
            raise InvalidArgument(f"cannot attach pod: {pod.id[:80]!r} is no id that CNI knows")
        async with self._gate.shared(), self._lock(pod.id):
            chosen = self._readiness.chosen
            if chosen is None:
                raise Unavailable(f"cannot attach {pod.describe()}: {self.status().message}")
            if self._attachments.load(pod.id) is not None:
                raise FailedPrecondition(f"cannot attach {pod.describe()}: it is attached already")
            chain = await self._chain(chosen.config)
            attachment = Attachment(
                pod.id,
                network=chosen.config.name,
                namespace=pod.namespace,
                name=pod.name,
                uid=pod.uid,
                netns=pod.netns_path,
                config=chosen.config.raw.decode("utf-8", "replace"),
                arguments=cni_arguments(pod),
                capabilities=capability_arguments(pod),
                builtin=[plugin.builtin for plugin in chain.plugins],
            )
            self._made_here.add(pod.id)
            try:
                self._attachments.save(attachment)
                failpoint("network.add.after_record")
                return await self._run_add(chain, attachment)
            except BaseException as error:
                await asyncio.shield(self._tasks.spawn("undo add", self._undo(attachment)))
                if isinstance(error, CrioError):
                    error.message = f"cannot attach {pod.describe()}: {error.message}"
                    error.args = (error.message,)
                raise

    async def _run_add(self, chain: Chain, attachment: Attachment) -> NetworkResult:
        raw = await chain.add(_target(attachment, attachment.netns), self.limits.add)
        failpoint("network.add.after_plugins")
        self._cache.save(
            cached(
                container_id=attachment.pod_id,
                interface=attachment.interface,
                network=attachment.network,
                netns=attachment.netns,
                config=chain.network.raw,
                arguments=attachment.arguments,
                capabilities=attachment.capabilities,
                result=raw,
            )
        )
        result = parse_result(raw, chain.network.version)
        return NetworkResult(tuple(ip.ip for ip in result.ips), raw, attachment.network)

    async def _undo(self, attachment: Attachment) -> None:
        try:
            await self._detach(attachment)
        except CrioError as error:
            log.warning("cannot undo the network of pod %s, it is tried again: %s", attachment.pod_id[:12], error)

    async def delete(self, pod: PodNetwork) -> None:
        """Detach the pod, with the configuration by which it was attached; fine if it is not attached.

        Works without its network namespace. Raises PluginFailed if a plug-in fails: the next call tries again.
        """
        async with self._gate.shared(), self._lock(pod.id):
            for attachment in self._recorded(pod):
                await self._detach(attachment)

    def _recorded(self, pod: PodNetwork) -> list[Attachment]:
        """What is known of the pod's attachments: by our record, or by libcni's cache if another runtime made them."""
        attachment = self._attachments.load(pod.id)
        if attachment is not None:
            if not attachment.config and pod.namespace:
                attachment.arguments, attachment.capabilities = cni_arguments(pod), capability_arguments(pod)
            attachment.netns = attachment.netns or pod.netns_path
            return [attachment]
        return [_foreign(entry) for entry in self._cache.of_container(pod.id) if entry.if_name != "lo"]

    async def _detach(self, attachment: Attachment) -> None:
        entry = self._cache.load(attachment.network, attachment.pod_id, attachment.interface)
        config = self._config_of(attachment)
        netns = attachment.netns if attachment.netns and is_pinned(attachment.netns) else ""
        chain = await self._chain(config, attachment.builtin)
        result = bytes(entry.result) if entry is not None and bytes(entry.result) != b"null" else None
        await chain.delete(_target(attachment, netns), self.limits.delete, result)
        failpoint("network.delete.after_plugins")
        self._cache.remove(attachment.network, attachment.pod_id, attachment.interface)
        self._attachments.remove(attachment.pod_id)
        self._made_here.discard(attachment.pod_id)

    def _config_of(self, attachment: Attachment) -> NetworkConfig:
        """The configuration at the time of ADD; that of now if the record was damaged."""
        if attachment.config:
            try:
                return parse_network(attachment.config.encode(), attachment.network)
            except InvalidArgument as error:
                log.warning("record of pod %s is damaged: %s", attachment.pod_id[:12], error.message)
        chosen = self._readiness.chosen
        if chosen is None:
            raise Unavailable(
                f"cannot detach pod {attachment.pod_id[:12]}: its record is damaged and there is no network to ask"
            )
        attachment.network = chosen.config.name
        return chosen.config

    async def check(self, pod: PodNetwork) -> None:
        """Ask the plug-ins whether the pod's network is as it was made. Raises PluginFailed, FailedPrecondition."""
        async with self._gate.shared(), self._lock(pod.id):
            attachment = self._attachments.load(pod.id)
            entry = attachment and self._cache.load(attachment.network, pod.id, attachment.interface)
            if not attachment or not entry:
                raise FailedPrecondition(f"cannot check the network of {pod.describe()}: it is not attached")
            config = self._config_of(attachment)
            if config.at_least("0.4.0") and not config.disable_check:
                chain = await self._chain(config, attachment.builtin)
                await chain.check(_target(attachment, attachment.netns), self.limits.check, bytes(entry.result))

    async def check_all(self) -> list[tuple[PodNetwork, str]]:
        """`check` every attached pod: those whose network is not as it was made, each with the reason."""
        slots = asyncio.Semaphore(_CHECKS_AT_ONCE)

        async def reason(pod: PodNetwork) -> str:
            async with slots:
                try:
                    await self.check(pod)
                except FailedPrecondition:
                    return ""  # it was detached meanwhile
                except CrioError as error:
                    return error.message
            return ""

        pods = self.attachments()
        reasons = await asyncio.gather(*(reason(pod) for pod in pods))
        return [(pod, text) for pod, text in zip(pods, reasons, strict=True) if text]

    def attachments(self) -> list[PodNetwork]:
        """Every pod that is or may be attached by this daemon's records, as far as they know it."""
        loaded = (self._attachments.load(pod_id) for pod_id in self._attachments.pod_ids())
        return [
            PodNetwork(record.pod_id, record.namespace, record.name, record.uid, record.netns)
            for record in loaded
            if record is not None
        ]

    async def collect_garbage(self, live_ids: Collection[str]) -> list[str]:
        """Detach every recorded pod that is not in `live_ids` and have plug-ins release what belongs to nobody.

        Pods that were attached since the daemon's start count as alive, and so do those of other runtimes that have a
        network namespace. What cannot be detached is kept for the next
        time and logged. Returns the ids that were detached.
        """
        detached = []
        for pod in self.attachments():
            if pod.id in live_ids or pod.id in self._made_here:
                continue
            try:
                await self.delete(pod)
            except CrioError as error:
                log.warning("cannot detach leftover %s, it is kept for the next time: %s", pod.describe(), error)
            else:
                detached.append(pod.id)
        for entry in self._cache.entries():
            if entry.container_id in live_ids or entry.container_id in self._made_here or not self._is_leftover(entry):
                continue
            try:
                await self._detach(_foreign(entry))
            except CrioError as error:
                log.warning("cannot detach leftover pod %s: %s", entry.container_id[:12], error)
            else:
                detached.append(entry.container_id)
        chosen = self._readiness.chosen
        if chosen is not None and not chosen.config.disable_gc:
            try:
                await self._collect_plugins(chosen.config)
            except (CrioError, TimeoutError) as error:
                log.warning("cannot collect garbage of network %s: %s", chosen.config.name, error or "pods are busy")
        return detached

    def _is_leftover(self, entry: CachedResult) -> bool:
        """Whether another runtime's attachment is that of a dead pod in a network of ours.

        Other users of the cache (a second runtime, podman, nerdctl) have pods and containers that are not this
        daemon's to judge: a namespace that is still there means that somebody may use it.
        """
        is_pod = any(key == "K8S_POD_INFRA_CONTAINER_ID" for key, _ in entry.cni_args)
        return is_pod and entry.network_name in self._readiness.networks.by_name and not is_pinned(entry.netns)

    async def _collect_plugins(self, config: NetworkConfig) -> None:
        async with self._gate.exclusive(self.limits.collect_garbage):
            valid = {(entry.container_id, entry.if_name) for entry in self._cache.entries()}
            valid |= {(pod_id, INTERFACE) for pod_id in self._attachments.pod_ids()}
            chain = await self._chain(config)
            await chain.collect_garbage(sorted(valid), self.limits.collect_garbage)

    async def _ask_status(self, config: NetworkConfig) -> None:
        if config.at_least("1.1.0"):
            await (await self._chain(config)).status(self.limits.status)

    async def _chain(self, config: NetworkConfig, builtin: Sequence[bool] = ()) -> Chain:
        wanted: Sequence[bool | None] = builtin if len(builtin) == len(config.plugins) else [None] * len(config.plugins)
        plugins = [
            await self._selection.select(config, plugin, choice)
            for plugin, choice in zip(config.plugins, wanted, strict=True)
        ]
        return Chain(config, plugins, self.observer)

    @contextlib.asynccontextmanager
    async def _lock(self, pod_id: str) -> AsyncIterator[None]:
        """One operation at a time for each pod; the lock goes with its last user."""
        lock, users = self._locks.get(pod_id, (asyncio.Lock(), 0))
        self._locks[pod_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[pod_id]
            if users == 1:
                del self._locks[pod_id]
            else:
                self._locks[pod_id] = (lock, users - 1)


class _Gate:
    """Garbage is collected only while no pod is being attached or detached: its list of the living must be true."""

    def __init__(self) -> None:
        self._users = 0
        self._exclusive = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._exclusive:
            self._users += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def exclusive(self, timeout: float) -> AsyncIterator[None]:
        """Raises TimeoutError if the others do not end within `timeout` seconds; new ones wait meanwhile."""
        async with self._exclusive:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
            yield


def _target(attachment: Attachment, netns: str) -> Target:
    return Target(
        attachment.pod_id,
        netns,
        attachment.interface,
        ";".join(f"{key}={value}" for key, value in attachment.arguments),
        attachment.capabilities,
    )


def _foreign(entry: CachedResult) -> Attachment:
    """An attachment that another runtime made through libcni."""
    try:
        config = entry.config_bytes().decode("utf-8", "replace")
    except ValueError:
        config = ""
    return Attachment(
        entry.container_id,
        network=entry.network_name,
        interface=entry.if_name,
        netns=entry.netns,
        config=config,
        arguments=list(entry.cni_args),
        capabilities=entry.capability_args,
    )
