"""The plug-ins of a network: ADD in their order, each one's result given to the next, and DEL in reverse."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.failpoints import failpoint
from crio.base.jsontext import UNREADABLE
from crio.network.plugin import ADD, CHECK, DEL, GC, STATUS, Observer, Plugin, PluginFailed, PluginRequest
from crio.spec.cni import NetworkConfig, PluginConfig, check_version, encode_result, parse_result

log = logging.getLogger(__name__)


class Target(msgspec.Struct, frozen=True):
    """Whom a chain acts for, as plug-ins see it."""

    container_id: str
    netns: str
    interface: str
    arguments: str
    capabilities: dict[str, Any]


class Chain:
    """A network with the implementation of each of its plug-ins."""

    def __init__(self, network: NetworkConfig, plugins: Sequence[Plugin], observer: Observer | None = None) -> None:
        self.network = network
        self.plugins = plugins
        self._observer = observer

    async def add(self, target: Target, timeout: float) -> bytes:
        """Attach; the last plug-in's result as JSON. Raises PluginFailed, and then DEL is due for the whole chain."""
        deadline = time.monotonic() + timeout
        result: bytes | None = None
        for index in range(len(self.plugins)):
            output = await self._call(ADD, index, target, deadline, timeout, result)
            result = _with_version(output, self.network.version)
            failpoint(f"network.add.after_plugin.{index}")
        assert result is not None
        return result

    async def delete(self, target: Target, timeout: float, result: bytes | None) -> None:
        """Detach. A plug-in that fails does not keep those before it from their part; the first error is raised."""
        deadline = time.monotonic() + timeout
        failure: CrioError | None = None
        if result is not None and self.network.at_least("0.4.0"):
            try:
                result = _as_version(result, self.network.version)
            except InvalidArgument as error:
                # What cannot be read now never can; plug-ins have to do without one, as after a reboot.
                log.warning("network %s of %s: %s", self.network.name, target.container_id[:12], error.message)
                result = None
        else:
            result = None
        for index in reversed(range(len(self.plugins))):
            try:
                await self._call(DEL, index, target, deadline, timeout, result)
            except CrioError as error:
                failure = failure or error
            failpoint(f"network.delete.after_plugin.{index}")
        if failure is not None:
            raise failure

    async def check(self, target: Target, timeout: float, result: bytes) -> None:
        """Ask whether everything is as ADD left it. Raises PluginFailed."""
        deadline = time.monotonic() + timeout
        for index in range(len(self.plugins)):
            await self._call(CHECK, index, target, deadline, timeout, result)

    async def status(self, timeout: float) -> None:
        """Ask whether ADD would work. Raises PluginFailed. Nothing is asked before version 1.1.0."""
        if self.network.at_least("1.1.0"):
            deadline = time.monotonic() + timeout
            for index in range(len(self.plugins)):
                await self._call(STATUS, index, _NOBODY, deadline, timeout, None)

    async def collect_garbage(self, valid: Sequence[tuple[str, str]], timeout: float) -> None:
        """Have plug-ins release what belongs to no (container, interface) of `valid`. Raises PluginFailed.

        Programs know this verb from version 1.1.0 on, built-in plug-ins always.
        """
        deadline = time.monotonic() + timeout
        listed = [{"containerID": container, "ifname": interface} for container, interface in valid]
        # The specification's first text had the second name.
        extra = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
        failure: CrioError | None = None
        for index, plugin in enumerate(self.plugins):
            if not plugin.builtin and not self.network.at_least("1.1.0"):
                continue
            try:
                await self._call(GC, index, _NOBODY, deadline, timeout, None, extra)
            except CrioError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _call(
        self,
        verb: str,
        index: int,
        target: Target,
        deadline: float,
        timeout: float,
        previous: bytes | None,
        extra: dict[str, Any] | None = None,
    ) -> bytes:
        config, plugin = self.network.plugins[index], self.plugins[index]
        document = _document(self.network, config, target.capabilities, previous) | (extra or {})
        request = PluginRequest(
            verb, config.type, document, target.container_id, target.netns, target.interface, target.arguments
        )
        started = time.monotonic()
        if started >= deadline:
            raise PluginFailed(request, f"the plug-ins before it took all of the {timeout:g} s that {verb} may take")
        succeeded = False
        try:
            output = await plugin.call(request, deadline - started)
            succeeded = True
        finally:
            if self._observer is not None:
                self._observer(verb, config.type, time.monotonic() - started, succeeded)
        return output


_NOBODY = Target("", "", "", "", {})


def _document(
    network: NetworkConfig, config: PluginConfig, capabilities: dict[str, Any], previous: bytes | None
) -> dict[str, Any]:
    document = {**config.raw, "name": network.name, "cniVersion": network.version}
    wanted = {name: value for name, value in capabilities.items() if name in config.capabilities}
    if wanted:
        document["runtimeConfig"] = {**document.get("runtimeConfig", {}), **wanted}
    if previous is not None:
        document["prevResult"] = msgspec.Raw(previous)
    return document


def _with_version(result: bytes, version: str) -> bytes:
    """The result with the network's version if it has none; plug-ins may leave it out."""
    if b'"cniVersion"' in result:
        return result
    try:
        document = msgspec.json.decode(result, type=dict[str, msgspec.Raw])
    except UNREADABLE as error:
        raise InvalidArgument(f"cannot read the result: {error}") from None
    return msgspec.json.encode({"cniVersion": version, **document})


def _as_version(result: bytes, version: str) -> bytes:
    parsed = parse_result(result, version)
    return result if parsed.version == check_version(version) else encode_result(parsed, version)
