"""From files, environment and flags to one checked, immutable configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from crio.config.catalog import WORKLOADS, entries, tables
from crio.config.handlers import Handlers
from crio.config.host import selinux_enabled, storage_defaults
from crio.config.model import Config
from crio.config.problem import ConfigError, Problem, Source
from crio.config.settings import Settings
from crio.config.tables.api import Api
from crio.config.tables.handler import Resources, Workload
from crio.config.tables.image import Image
from crio.config.tables.network import Network
from crio.config.tables.nri import DefaultValidator, Nri
from crio.config.tables.observability import Metrics, Stats, Tracing
from crio.config.tables.root import CheckpointRestore, Crio
from crio.config.tables.runtime import Runtime
from crio.config.validate import adjust, check_together, check_values, check_workload

CONFIG_FILE = "/etc/crio/crio.conf"
CONFIG_DIR = "/etc/crio/crio.conf.d"

Flags = Mapping[str, "str | bool | Sequence[str]"]


class LoadedConfig(Struct, frozen=True):
    """A configuration that can be used, and how it came about."""

    config: Config
    warnings: tuple[Problem, ...]
    """What does not stop the daemon but should be known: unknown and deprecated keys, handlers that were left out."""
    sources: Mapping[str, Source]
    """Where each key that was set got its value, by dotted name; handlers and workloads by the name of their table."""
    files: tuple[str, ...]
    """The files that were read, in order."""
    config_path: str
    config_dir: str
    flags: Mapping[str, Any]
    """The flags as given: --log, --log-format and the other ones without a key are for the daemon to read."""


def load(
    flags: Flags | None = None,
    environ: Mapping[str, str] | None = None,
    config_path: str | None = None,
    config_dir: str | None = None,
    *,
    check_host: bool = True,
    more_files: Sequence[str] = (),
) -> LoadedConfig:
    """Read crio.conf, the drop-ins, the environment and `flags` (by CRI-O's names, without dashes); later ones win.

    A missing file is an error unless it is /etc/crio/crio.conf. With an empty flag "config-dir" there are no drop-ins.
    With `check_host`, programs and files which the configuration names must exist, as for a start of the daemon;
    without, as for printing. `more_files` are read after the drop-ins. Raises ConfigError with every problem.
    """
    flags = flags or {}
    environ = os.environ if environ is None else environ
    named_path = config_path or _text(flags.get("config")) or environ.get("CONTAINER_CONFIG", "")
    directory = config_dir or (
        _text(flags["config-dir"]) if "config-dir" in flags else environ.get("CONTAINER_CONFIG_DIR") or CONFIG_DIR
    )
    settings = Settings()
    derived = _derived(settings, environ)
    path = named_path or CONFIG_FILE
    if path != CONFIG_FILE or os.path.exists(path):
        settings.add_file(path)
    settings.add_directory(directory)
    for path in more_files:
        settings.add_file(path)
    settings.add_environment(environ)
    settings.add_flags(flags)
    config = _build(settings, derived, environ, check_host=check_host, look=True)
    return LoadedConfig(
        config=config,
        warnings=tuple(settings.warnings),
        sources=settings.sources,
        files=tuple(settings.files),
        config_path=path,
        config_dir=directory,
        flags=dict(flags),
    )


def parse(text: str, name: str) -> Config:
    """The configuration that one file alone makes, with nothing looked up on the machine. Raises ConfigError."""
    settings = Settings()
    settings.add_text(text, name)
    return _build(settings, {}, {}, check_host=False, look=False)


def default_config(environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of this machine without any file, variable or flag of CRI-O."""
    environ = os.environ if environ is None else environ
    settings = Settings()
    return _build(settings, _derived(settings, environ), environ, check_host=False, look=False)


def _derived(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Defaults of this machine in place of the built-in ones. Options of storage.conf are set: files add to them."""
    values: dict[str, Any] = {"crio.runtime.selinux": selinux_enabled()}
    try:
        storage = storage_defaults(environ)
    except (OSError, ValueError) as error:
        settings.errors.append(Problem(Source("storage.conf"), str(error)))
        return values
    values["crio.root"] = storage.root
    values["crio.runroot"] = storage.runroot
    values["crio.storage_driver"] = storage.driver
    values["crio.imagestore"] = storage.imagestore
    if storage.options:
        values["crio.storage_option"] = storage.options
        settings.values["crio.storage_option"] = storage.options
        settings.sources["crio.storage_option"] = Source(storage.path or "environment variable STORAGE_OPTS")
    return {name: value for name, value in values.items() if value != ""}


def _build(
    settings: Settings, derived: Mapping[str, Any], environ: Mapping[str, str], *, check_host: bool, look: bool
) -> Config:
    def source_of(dotted: str) -> Source:
        return settings.sources.get(dotted, Source("defaults"))

    for dotted, text in (*check_values(settings.values), *check_together(settings.values)):
        settings.errors.append(Problem(source_of(dotted), f"{entries()[dotted].name} {text}"))
    for name, workload in settings.workloads.items():
        if text := check_workload(name, workload):
            settings.errors.append(Problem(source_of(f"{WORKLOADS}.{name}"), text))
    values = {**derived, **settings.values}
    settings.warnings.extend(adjust(values, source_of))

    runtime = Runtime(**_table("crio.runtime", values))
    named = "crio.runtime.default_runtime" in settings.values
    builder = Handlers(runtime, settings.sources, environ)
    default = builder.choose_default(settings.handlers, named, look=look)
    handlers = builder.build(settings.handlers, default, check_host=check_host, look=look)
    settings.errors.extend(builder.errors)
    settings.warnings.extend(builder.warnings)
    if settings.errors:
        raise ConfigError(settings.errors, settings.warnings)
    return Config(
        crio=Crio(**_table("crio", values)),
        api=Api(**_table("crio.api", values)),
        runtime=Runtime(
            **{**_table("crio.runtime", values), "default_runtime": default},
            runtimes=handlers,
            workloads={name: _workload(workload) for name, workload in sorted(settings.workloads.items())},
        ),
        checkpoint_restore=CheckpointRestore(**_table("crio.checkpoint_restore", values)),
        image=Image(**_table("crio.image", values)),
        network=Network(**_table("crio.network", values)),
        metrics=Metrics(**_table("crio.metrics", values)),
        tracing=Tracing(**_table("crio.tracing", values)),
        nri=Nri(
            **_table("crio.nri", values),
            default_validator=DefaultValidator(**_table("crio.nri.default_validator", values)),
        ),
        stats=Stats(**_table("crio.stats", values)),
    )


def _table(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{table}."
    return {name: values[prefix + name] for name in tables()[table] if prefix + name in values}


def _workload(content: Mapping[str, Any]) -> Workload:
    return Workload(**{**content, "resources": Resources(**content.get("resources", {}))})


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value[-1]) if isinstance(value, list | tuple) and value else ""
