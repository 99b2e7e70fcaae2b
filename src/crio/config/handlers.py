"""The handler table: defaults, inheritance and checks of [crio.runtime.runtimes.NAME]."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from crio.base.regex import regex
from crio.config.annotations import check_allowed
from crio.config.host import DEFAULT_PATH, find_program
from crio.config.problem import Problem, Source
from crio.config.tables.handler import MIN_CREATE_TIMEOUT, RuntimeHandler
from crio.config.tables.runtime import Runtime

PREFERRED = ("crun", "runc")
"""Runtimes that are looked for when the configuration names none, best first."""

MONITOR_ENV = (f"PATH={DEFAULT_PATH}",)
_SLICE = "system.slice"
_VM_PROGRAM = regex(r"containerd-shim-[a-zA-Z0-9+-]+")

BUILT_IN: Mapping[str, Any] = {
    "runtime_root": "/run/crun",
    "allowed_annotations": ("io.containers.trace-syscall", "devices.crio.io"),
    "monitor_env": MONITOR_ENV,
    "container_min_memory": 500 * 1024,
}
"""The crun handler that exists without any file."""


class Handlers:
    """Works out the handler table; `errors` and `warnings` say what became of it."""

    def __init__(self, runtime: Runtime, sources: Mapping[str, Source], environ: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._sources = sources
        self._environ = environ
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def choose_default(self, written: Mapping[str, Mapping[str, Any]], named: bool, *, look: bool = True) -> str:
        """The default handler's name: `default_runtime`, else the best of crun and runc that this machine has.

        Without `look` the machine does not matter.
        """
        if named and self._runtime.default_runtime:
            return self._runtime.default_runtime
        for name in PREFERRED if look else ():
            path = written.get(name, {}).get("runtime_path", "")
            if os.path.exists(path) if path else find_program(name, self._environ):
                return name
        return PREFERRED[0]

    def build(
        self, written: Mapping[str, Mapping[str, Any]], default: str, *, check_host: bool, look: bool = True
    ) -> dict[str, RuntimeHandler]:
        """All handlers that can be used, with every field filled.

        One that cannot be used is dropped with a warning, or is an error if it is the default. Without `check_host`
        no file has to exist; without `look` the machine does not matter, and the built-in handler is there only as the
        default one.
        """
        tables: dict[str, Mapping[str, Any]] = dict(written)
        built_in = default == PREFERRED[0] or (look and (not check_host or self._found(PREFERRED[0])))
        if PREFERRED[0] not in tables and built_in:
            tables[PREFERRED[0]] = BUILT_IN
        if default not in tables and default in PREFERRED and not self._named_default():
            tables[default] = {**BUILT_IN, "runtime_root": f"/run/{default}"}
        if default not in tables:
            text = f'default_runtime is "{default}", but there is no table [crio.runtime.runtimes.{default}]'
            self.errors.append(Problem(self._source("crio.runtime.default_runtime"), text))
            return {}
        handlers: dict[str, RuntimeHandler] = {}
        for name in sorted(tables):
            handler = RuntimeHandler(**tables[name])
            if handler.inherit_default_runtime and name != default:
                parent = RuntimeHandler(**tables[default])
                handler = structs.replace(
                    handler,
                    runtime_path=parent.runtime_path or (find_program(default, self._environ) if check_host else ""),
                    runtime_type=parent.runtime_type,
                    runtime_config_path=parent.runtime_config_path,
                    runtime_root=parent.runtime_root or f"/run/{default}",
                )
            try:
                handlers[name] = self._complete(name, handler, check_host=check_host)
            except ValueError as error:
                source = self._source(f"crio.runtime.runtimes.{name}")
                if name == default:
                    self.errors.append(Problem(source, f"the default runtime handler {name} cannot be used: {error}"))
                else:
                    self.warnings.append(Problem(source, f"runtime handler {name} is left out: {error}"))
        return handlers

    def _complete(self, name: str, handler: RuntimeHandler, *, check_host: bool) -> RuntimeHandler:
        kind = handler.runtime_type or "oci"
        timeout = handler.container_create_timeout or 240
        if timeout < MIN_CREATE_TIMEOUT:
            text = f"container_create_timeout of {name} is raised from {timeout} to {MIN_CREATE_TIMEOUT} seconds"
            self.warnings.append(Problem(self._source(f"crio.runtime.runtimes.{name}"), text))
            timeout = MIN_CREATE_TIMEOUT
        if handler.runtime_config_path and kind != "vm":
            raise ValueError('runtime_config_path is for runtime_type "vm" only')
        if handler.no_sync_log and kind != "oci":
            raise ValueError('no_sync_log is for runtime_type "oci" only')
        if handler.stream_websockets and kind != "pod":
            raise ValueError('stream_websockets is for runtime_type "pod" only')
        check_allowed(handler.allowed_annotations)
        path = handler.runtime_path
        if check_host:
            path = self._program(name, handler)
            _must_exist("runtime_config_path", handler.runtime_config_path)
            _must_exist("seccomp_profile", handler.seccomp_profile)
        if kind == "vm" and path and not _VM_PROGRAM.fullmatch(os.path.basename(path)):
            raise ValueError(f"{path} must be named containerd-shim-..., as VM runtimes' programs are")
        return structs.replace(
            handler,
            runtime_path=path,
            runtime_type=kind,
            runtime_root=handler.runtime_root or f"/run/{name}",
            monitor_path=self._runtime.conmon or handler.monitor_path,
            monitor_cgroup=self._monitor_cgroup(handler),
            monitor_env=self._runtime.conmon_env or handler.monitor_env or MONITOR_ENV,
            container_create_timeout=timeout,
        )

    def _monitor_cgroup(self, handler: RuntimeHandler) -> str:
        cgroup = self._runtime.conmon_cgroup or handler.monitor_cgroup
        if self._runtime.cgroup_manager == "systemd":
            cgroup = cgroup or _SLICE
            if cgroup != "pod" and not cgroup.endswith(".slice"):
                raise ValueError(f'monitor_cgroup must be "pod" or a slice with systemd, but is "{cgroup}"')
            return cgroup
        if cgroup in ("", _SLICE):
            return ""
        if cgroup != "pod":
            raise ValueError(f'monitor_cgroup must be "pod" or empty with cgroupfs, but is "{cgroup}"')
        return cgroup

    def _program(self, name: str, handler: RuntimeHandler) -> str:
        if handler.runtime_path:
            _must_exist("runtime_path", handler.runtime_path)
            return handler.runtime_path
        found = find_program(name, self._environ)
        if not found:
            raise ValueError(f"there is no program {name} in PATH; set runtime_path, or install it")
        return found

    def _named_default(self) -> bool:
        return "crio.runtime.default_runtime" in self._sources and bool(self._runtime.default_runtime)

    def _found(self, name: str) -> bool:
        return bool(find_program(name, self._environ))

    def _source(self, dotted: str) -> Source:
        return self._sources.get(dotted, Source("defaults"))


def _must_exist(what: str, path: str) -> None:
    if path and not os.path.exists(path):
        raise ValueError(f"{what} {path} does not exist")
