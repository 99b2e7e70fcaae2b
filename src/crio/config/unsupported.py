"""Keys that change nothing in this daemon, so that it can say so at its start, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from crio.config.catalog import HANDLERS, entries, value_of
from crio.config.handlers import MONITOR_ENV
from crio.config.model import Config
from crio.config.tables.handler import RuntimeHandler

_NO_NRI = "NRI plug-ins are not called"
_NO_CPU_HOOKS = "interrupts are not moved away from the CPUs of containers"
_HOST_USERS = "containers run in the host's user namespace unless the pod asks for its own"

UNSUPPORTED: Mapping[str, str] = {
    "crio.runtime.rdt_config_file": "cache and memory bandwidth classes are not applied",
    "crio.runtime.uid_mappings": _HOST_USERS,
    "crio.runtime.gid_mappings": _HOST_USERS,
    "crio.runtime.irqbalance_config_file": _NO_CPU_HOOKS,
    "crio.runtime.irqbalance_config_restore_file": _NO_CPU_HOOKS,
    "crio.runtime.shared_cpuset": "no container is given further CPUs",
    "crio.checkpoint_restore.container_level_enabled": "containers are not checkpointed",
    "crio.nri.enable_nri": _NO_NRI,
    "crio.nri.nri_listen": _NO_NRI,
    "crio.nri.nri_plugin_dir": _NO_NRI,
    "crio.nri.nri_plugin_config_dir": _NO_NRI,
    "crio.nri.nri_disable_connections": _NO_NRI,
    "crio.nri.nri_plugin_registration_timeout": _NO_NRI,
    "crio.nri.nri_plugin_request_timeout": _NO_NRI,
    "crio.nri.default_validator.nri_enable_default_validator": _NO_NRI,
    "crio.nri.default_validator.nri_validator_reject_oci_hook_adjustment": _NO_NRI,
    "crio.nri.default_validator.nri_validator_reject_runtime_default_seccomp_adjustment": _NO_NRI,
    "crio.nri.default_validator.nri_validator_reject_unconfined_seccomp_adjustment": _NO_NRI,
    "crio.nri.default_validator.nri_validator_reject_custom_seccomp_adjustment": _NO_NRI,
    "crio.nri.default_validator.nri_validator_reject_namespace_adjustment": _NO_NRI,
    "crio.nri.default_validator.nri_validator_required_plugins": _NO_NRI,
    "crio.nri.default_validator.nri_validator_tolerate_missing_plugins_annotation": _NO_NRI,
}
"""What is true as long as the feature is not there, by key. An entry goes when its feature comes."""

OTHERWISE: Mapping[str, str] = {
    "crio.log_dir": "a container whose pod names no log directory has no log",
    "crio.runtime.conmon": "containers are monitored by this daemon's own program",
    "crio.runtime.pinns_path": "namespaces are kept by this daemon itself",
    "crio.runtime.drop_infra_ctr": "a pod has no container of its own",
    "crio.image.pause_command": "pods have no infra container that would run it",
}
"""How this daemon does by design what the key is about, by key."""

ALWAYS: Mapping[str, str] = {
    "crio.runtime.enable_pod_events": "events are always served",
    "crio.image.auto_reload_registries": "registries.conf is read again for each pull",
}
"""Switches of what this daemon does in any case. Who turns them on has what he asked for, and is told nothing."""

_ASKS_FOR_NOTHING: Mapping[str, object] = {
    "crio.nri.enable_nri": False,
    "crio.checkpoint_restore.container_level_enabled": "none",
    "crio.runtime.irqbalance_config_restore_file": "disable",
}
"""Values that mean that the feature is not wanted, where that is not the default."""

UNSUPPORTED_OF_HANDLERS: Mapping[str, str] = {
    "monitor_env": "runtimes are called with PATH alone",
    "runtime_pull_image": "images are unpacked on the host",
}
OTHERWISE_OF_HANDLERS: Mapping[str, str] = {
    "runtime_config_path": "an OCI runtime has no configuration file",
    "stream_websockets": "streams are served over WebSockets for every handler",
}
_DEFAULT_HANDLER = RuntimeHandler(monitor_env=MONITOR_ENV)


def note(dotted: str) -> str:
    """What explanations add for a key that changes nothing; empty for the others."""
    field = dotted.removeprefix(f"{HANDLERS}.*.")
    missing, instead = (
        (UNSUPPORTED_OF_HANDLERS.get(field), OTHERWISE_OF_HANDLERS.get(field))
        if field != dotted
        else (UNSUPPORTED.get(dotted), OTHERWISE.get(dotted) or ALWAYS.get(dotted))
    )
    if missing:
        return f"no effect yet: {missing}"
    return f"no effect: {instead}" if instead else ""


def unsupported_lines(config: Config, named: Set[str]) -> Iterator[str]:
    """A sentence for each key of `named`, those that were set, whose value asks for what does not exist here."""
    for dotted in (*UNSUPPORTED, *OTHERWISE):
        if dotted not in named:
            continue
        entry = entries()[dotted]
        if value_of(config, entry) != _ASKS_FOR_NOTHING.get(dotted, entry.default):
            yield f"{entry.name} has {note(dotted)}"
    for name, handler in config.runtime.runtimes.items():
        yield from _handler_lines(name, handler)


def _handler_lines(name: str, handler: RuntimeHandler) -> Iterator[str]:
    where = f"runtime handler {name}"
    if handler.runtime_type not in ("", "oci"):
        yield f"{where} cannot be used yet: its runtime_type is {handler.runtime_type}, and only oci is there"
        return
    for still, fields in (("yet", UNSUPPORTED_OF_HANDLERS), ("", OTHERWISE_OF_HANDLERS)):
        for field, instead in fields.items():
            if getattr(handler, field) and getattr(handler, field) != getattr(_DEFAULT_HANDLER, field):
                yield f"{field} of {where} has {f'no effect {still}'.rstrip()}: {instead}"
