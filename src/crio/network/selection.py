"""Which implementation of a plug-in is used: the program, or the built-in one where it does exactly the same.

A built-in plug-in stands in only for the CNI project's own program of that name (or for none at all), and only for
configurations whose every field it knows. What made an attachment also undoes it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import msgspec

from crio.base.errors import CrioError, InvalidArgument, Unavailable
from crio.network.builtin import BUILTIN, VERSIONS, BuiltinPlugin, ipam_type
from crio.network.executable import Executable, find_plugin, standard_release, supported_versions
from crio.network.plugin import Plugin
from crio.spec.cni import NetworkConfig, PluginConfig

BuiltinMode = Literal["auto", "never", "always"]
"""`always` is for tests: also beside a program that is not the CNI project's own, or not there."""


class _Program(msgspec.Struct, frozen=True):
    """What is known of a plug-in program; `identity` tells when it was replaced."""

    path: str
    identity: tuple[int, int, int]
    standard: bool
    versions: tuple[str, ...]


class PluginSelection:
    """Finds plug-ins in `directories`. What programs say of themselves is asked once, and again when they change."""

    def __init__(self, directories: Sequence[str], mode: BuiltinMode = "auto") -> None:
        self.directories = tuple(directories)
        self.mode = mode
        self._programs: dict[str, _Program] = {}

    async def validate(self, network: NetworkConfig) -> None:
        """Raises InvalidArgument that names each plug-in which is missing or does not know the network's version."""
        problems = []
        for plugin in network.plugins:
            try:
                await self._validate_one(network, plugin)
            except CrioError as error:
                problems.append(error.message)
        if problems:
            raise InvalidArgument("; ".join(problems))

    async def _validate_one(self, network: NetworkConfig, plugin: PluginConfig) -> None:
        program = await self._program(plugin.type)
        if program is None:
            if self._builtin(network, plugin) is None:
                raise InvalidArgument(
                    f"cannot find plug-in {plugin.type} in {', '.join(self.directories)}; install it there"
                )
            return
        if network.version not in program.versions and self._builtin(network, plugin) is None:
            raise InvalidArgument(
                f"cannot use plug-in {program.path}: it does not support version {network.version} of the network, "
                f"only {', '.join(program.versions)}"
            )
        ipam = ipam_type(plugin)
        if ipam is not None:
            await self._program(ipam)

    def _builtin(self, network: NetworkConfig, plugin: PluginConfig) -> BuiltinPlugin | None:
        """The built-in plug-in, if it is to be used."""
        implementation = BUILTIN.get(plugin.type)
        if implementation is None or self.mode == "never":
            return None
        if network.version not in VERSIONS or not implementation.knows(plugin):
            return None
        if self.mode == "auto":
            for kind in (plugin.type, ipam_type(plugin)):
                if kind is None:
                    continue
                known = self._programs.get(kind)
                if known is None and find_plugin(kind, self.directories) is not None:
                    return None
                if known is not None and not known.standard:
                    return None
        return implementation

    async def select(self, network: NetworkConfig, plugin: PluginConfig, builtin: bool | None = None) -> Plugin:
        """The plug-in to call. `builtin` asks for that implementation, where it exists. Raises Unavailable."""
        program = await self._program(plugin.type)
        if (ipam := ipam_type(plugin)) is not None:
            await self._program(ipam)
        implementation = BUILTIN.get(plugin.type) if builtin else self._builtin(network, plugin)
        if implementation is not None and (builtin or builtin is None or program is None):
            return implementation
        if program is None:
            raise Unavailable(f"cannot find plug-in {plugin.type} in {', '.join(self.directories)}; install it there")
        return Executable(program.path, self.directories)

    async def _program(self, kind: str) -> _Program | None:
        path = find_plugin(kind, self.directories)
        if path is None:
            self._programs.pop(kind, None)
            return None
        try:
            return await self._ask(kind, path)
        except OSError as error:
            # Whoever installs it may be writing it at this moment (ETXTBSY).
            raise Unavailable(f"cannot run plug-in {path}: {error.strerror}") from None

    async def _ask(self, kind: str, path: str) -> _Program:
        """What the program says of itself. Raises InvalidArgument, OSError."""
        state = os.stat(path)
        identity = (state.st_ino, state.st_mtime_ns, state.st_size)
        known = self._programs.get(kind)
        if known is not None and (known.path, known.identity) == (path, identity):
            return known
        release = await standard_release(path, kind, self.directories) if kind in BUILTIN or kind in _IPAM else None
        versions = release[1] if release is not None else await supported_versions(path, self.directories)
        program = _Program(path, identity, release is not None, tuple(versions))
        self._programs[kind] = program
        return program


_IPAM = ("host-local",)
