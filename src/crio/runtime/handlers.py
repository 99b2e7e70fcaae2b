"""The runtime handlers of crio.conf."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from crio.base.errors import FailedPrecondition, Unimplemented
from crio.config.tables.handler import RuntimeHandler
from crio.config.tables.runtime import Runtime
from crio.runtime.driver import CallObserver, OciRuntime


class Runtimes:
    """The runtimes by the name of their handler."""

    def __init__(self, config: Runtime, observe: CallObserver | None = None) -> None:
        self._observe = observe
        self._runtimes: dict[str, OciRuntime] = {}
        self._of_platforms: dict[tuple[str, str], OciRuntime] = {}
        self._former: dict[str, OciRuntime] = {}
        self.replace(config)

    def replace(self, config: Runtime) -> None:
        """Take over another configuration. Containers of a handler that has gone keep it until the daemon's end.

        Raises Unimplemented if the default one cannot be used; then nothing has changed.
        """
        systemd = config.cgroup_manager == "systemd"
        usable = {name: handler for name, handler in config.runtimes.items() if handler.runtime_type in ("", "oci")}
        runtimes = {
            name: self._make(name, handler, handler.runtime_path, systemd=systemd) for name, handler in usable.items()
        }
        default = config.default_runtime
        if default not in runtimes:
            raise Unimplemented(
                f"cannot use default_runtime {default!r}: its runtime_type is "
                f"{config.runtimes[default].runtime_type!r}, and only oci is there in this release"
            )
        for former in (*self._runtimes.values(), *self._of_platforms.values()):
            former.program.close()
        self._former = {**self._former, **self._runtimes}
        self._runtimes = runtimes
        # What has gone from the configuration stays for the containers that were made by it.
        self._of_platforms |= {
            (name, platform): self._make(name, handler, path, systemd=systemd)
            for name, handler in usable.items()
            for platform, path in handler.platform_runtime_paths.items()
        }
        self.default_name = default

    def _make(self, name: str, handler: RuntimeHandler, path: str, *, systemd: bool) -> OciRuntime:
        return OciRuntime(
            name,
            path,
            handler.runtime_root,
            systemd_cgroup=systemd,
            exec_on_first_cpu=handler.exec_cpu_affinity == "first",
            exec_monitor_in_group=handler.monitor_exec_cgroup == "container",
            observe=self._observe,
        )

    def get(self, name: str, platform: str = "") -> OciRuntime:
        """The runtime of a handler, "" for the default one; of its platform_runtime_paths if `platform` is one of them.

        Raises FailedPrecondition. Not NotFound, which a kubelet takes to be of the container, and to be good news.
        """
        if platform and (found := self._of_platforms.get((name, platform))) is not None:
            return found
        runtime = self._runtimes.get(name or self.default_name) or self._former.get(name)
        if runtime is None:
            raise FailedPrecondition(
                f"cannot use runtime handler {name!r}: it is not in crio.conf any more, or its program has gone; put "
                "it back until its containers are removed"
            )
        return runtime

    def items(self) -> Iterable[tuple[str, OciRuntime]]:
        return self._runtimes.items()

    def values(self) -> Iterable[OciRuntime]:
        return self._runtimes.values()

    @property
    def default(self) -> OciRuntime:
        return self._runtimes[self.default_name]

    async def probe(self) -> None:
        """Ask all runtimes for their features, so that no call has to wait for it later."""
        await asyncio.gather(*(runtime.features() for runtime in self._runtimes.values()))
