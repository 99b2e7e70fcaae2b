"""The standard plug-ins bridge (with host-local), portmap and loopback, built in: no process, no iptables, a few ms.

They give the results of the CNI project's programs of those names, and keep the same state: leases of host-local in
its files under its lock, masquerading and port rules in the tables of those programs' nftables mode, so that either
can undo what the other made. `selection` decides when one of them is used; each module says what it does not do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from crio.base.errors import CrioError
from crio.base.executor import to_its_end
from crio.network.plugin import ADD, CHECK, DEL, GC, PluginFailed, PluginRequest
from crio.spec.cni import VERSIONS as ALL_VERSIONS
from crio.spec.cni import PluginConfig

VERSIONS = ALL_VERSIONS
"""Those of the specification in which built-in plug-ins give their results."""

COMMON_FIELDS = frozenset(("cniVersion", "name", "type", "capabilities", "dns", "prevResult", "runtimeConfig"))
"""Fields that every plug-in's configuration may have."""


class Implementation(Protocol):
    """What a module of this package has. The functions block; they run in a thread, for at most `timeout` seconds."""

    def knows(self, raw: dict[str, Any], /) -> bool:
        """Whether every field of the configuration is one that is followed here just as the program does."""
        ...

    def add(self, request: PluginRequest, timeout: float, /) -> bytes: ...

    def delete(self, request: PluginRequest, timeout: float, /) -> None: ...

    def check(self, request: PluginRequest, timeout: float, /) -> None: ...

    def collect_garbage(self, request: PluginRequest, valid: frozenset[tuple[str, str]], timeout: float, /) -> None: ...


class BuiltinPlugin:
    """A built-in plug-in; its module is imported when it is first needed."""

    builtin = True

    def __init__(self, load: Callable[[], Implementation]) -> None:
        self._load = load

    def knows(self, plugin: PluginConfig) -> bool:
        return self._load().knows(plugin.raw)

    async def call(self, request: PluginRequest, timeout: float) -> bytes:
        """As `Plugin.call`. When cancelled it first waits for the end of what it began, so that DEL comes after it."""
        return await to_its_end(self._work, request, timeout)

    def _work(self, request: PluginRequest, timeout: float) -> bytes:
        implementation = self._load()
        try:
            if request.verb == ADD:
                return implementation.add(request, timeout)
            if request.verb == DEL:
                implementation.delete(request, timeout)
            elif request.verb == CHECK:
                implementation.check(request, timeout)
            elif request.verb == GC:
                implementation.collect_garbage(request, _valid(request), timeout)
        except PluginFailed:
            raise
        except CrioError as error:
            raise PluginFailed(request, error.message) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise PluginFailed(request, f"{where}{error.strerror or error}") from None
        return b""


def ipam_type(plugin: PluginConfig) -> str | None:
    """The address plug-in that a plug-in calls, if it names one."""
    ipam = plugin.raw.get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    return kind if isinstance(kind, str) and kind else None


def _valid(request: PluginRequest) -> frozenset[tuple[str, str]]:
    listed = request.document.get("cni.dev/valid-attachments", ())
    return frozenset((entry["containerID"], entry["ifname"]) for entry in listed)


def _bridge() -> Implementation:
    from crio.network.builtin import bridge  # lazy: only nodes with such a network pay for it

    return bridge


def _portmap() -> Implementation:
    from crio.network.builtin import portmap  # lazy: as above

    return portmap


def _loopback() -> Implementation:
    from crio.network.builtin import loopback  # lazy: as above

    return loopback


BUILTIN = {"bridge": BuiltinPlugin(_bridge), "portmap": BuiltinPlugin(_portmap), "loopback": BuiltinPlugin(_loopback)}
