"""Whether pods can be attached now, and if not exactly why: which network is chosen, and what its plug-ins say."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable

import msgspec

from crio.base.errors import CrioError
from crio.network.config import ConfiguredNetwork, Networks, load_networks
from crio.network.selection import PluginSelection
from crio.spec.cni import NetworkConfig

log = logging.getLogger(__name__)

REASON = "NetworkPluginNotReady"


class NetworkStatus(msgspec.Struct, frozen=True):
    """The CRI's condition NetworkReady. `reason` and `message` are empty when ready."""

    ready: bool
    reason: str = ""
    message: str = ""


class Readiness:
    """Holds the networks of the configuration directory, and judges the default one.

    Its plug-ins are asked (STATUS, from CNI 1.1 on) until they are ready. After that they are asked again only with a
    `grace` above 0, every `poll` seconds, and a failure counts when it has lasted `grace` seconds.
    """

    retry = 0.5
    poll = 5.0

    def __init__(
        self,
        directory: str,
        default: str,
        selection: PluginSelection,
        ask: Callable[[NetworkConfig], Awaitable[None]],
        grace: float = 0.0,
    ) -> None:
        self._directory, self._default, self._selection, self._ask, self._grace = (
            directory,
            default,
            selection,
            ask,
            grace,
        )
        self.networks = Networks()
        self.chosen: ConfiguredNetwork | None = None
        self._problem = "the network was not looked at yet"
        self._failing_since: float | None = None
        self._wake = asyncio.Event()

    def status(self) -> NetworkStatus:
        if not self._problem:
            return NetworkStatus(True)
        return NetworkStatus(False, REASON, f"Network plugin returns error: {self._problem}")

    def reconfigure(self, directory: str, default: str) -> None:
        """Another directory and default network, for the next look."""
        self._directory, self._default = directory, default

    def look_again(self) -> None:
        """Something in the directories has changed."""
        self._wake.set()

    async def reload(self) -> None:
        """Read the directory, leave out networks whose plug-ins are missing or too old, and judge the default one."""
        self._wake.clear()
        found = await asyncio.to_thread(load_networks, self._directory)
        usable = Networks(broken=found.broken)
        for name, network in found.by_name.items():
            try:
                await self._selection.validate(network.config)
            except CrioError as error:
                usable.broken[os.path.basename(network.path)] = error.message
            else:
                usable.by_name[name] = network
        for name, reason in usable.broken.items():
            if self.networks.broken.get(name) != reason:
                log.warning("%s in %s is left out: %s", name, self._directory, reason)
        before = self.chosen
        self.networks, self.chosen = usable, usable.choose(self._default)
        if before is None or self.chosen is None or before.config != self.chosen.config:
            self._failing_since = None
            if self.chosen is not None:
                log.info("= network %s from %s is the default", self.chosen.config.name, self.chosen.path)
        await self._judge()

    async def run(self) -> None:
        """Follow changes until cancelled; `reload` has been called before."""
        while True:
            wait: float | None = None
            if self.chosen is not None and self.chosen.config.at_least("1.1.0"):
                if self._problem or self._failing_since is not None:
                    wait = self.retry
                elif self._grace > 0:
                    wait = self.poll
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                await self._judge()
            else:
                await self.reload()

    async def _judge(self) -> None:
        before = self._problem
        if self.chosen is None:
            self._problem = self._why_none()
        else:
            try:
                await self._ask(self.chosen.config)
            except CrioError as error:
                now = time.monotonic()
                since = self._failing_since = self._failing_since or now
                if before or now - since >= self._grace:
                    self._problem = error.message
            else:
                self._failing_since, self._problem = None, ""
        if self._problem != before:
            log.info("= network is %s", f"not ready: {self._problem}" if self._problem else "ready")

    def _why_none(self) -> str:
        """The first words are those that people and tools know from CRI-O."""
        skipped = "; ".join(f"{name} was skipped: {reason}" for name, reason in sorted(self.networks.broken.items()))
        if self._default and self.networks.by_name:
            names = ", ".join(self.networks.by_name)
            text = f"no CNI network named {self._default!r} in {self._directory}, only {names}"
        else:
            text = f"no CNI configuration file in {self._directory}. Has your network provider started?"
        return f"{text} ({skipped[:2000]})" if skipped else text
