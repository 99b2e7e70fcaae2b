"""Keys whose feature this daemon does not have, so that it can say so at its start, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from crio.config.catalog import entries, value_of
from crio.config.model import Config

_OWN_MONITOR = "containers are monitored by this daemon's own program"
_NO_NRI = "NRI plug-ins are not called"

UNSUPPORTED: Mapping[str, str] = {
    "crio.runtime.conmon": _OWN_MONITOR,
    "crio.runtime.pinns_path": "namespaces are kept by this daemon itself",
    "crio.runtime.rdt_config_file": "cache and memory bandwidth classes are not applied",
    "crio.runtime.uid_mappings": "containers run in the host's user namespace unless the pod asks for its own",
    "crio.runtime.gid_mappings": "containers run in the host's user namespace unless the pod asks for its own",
    "crio.runtime.separate_pull_cgroup": "images are pulled in the daemon's cgroup",
    "crio.image.auto_reload_registries": "registries.conf is read again for each pull anyway",
    "crio.nri.nri_plugin_dir": _NO_NRI,
    "crio.nri.nri_listen": _NO_NRI,
    "crio.nri.default_validator.nri_enable_default_validator": _NO_NRI,
}
"""What is true in place of the feature, by key. An entry goes when its feature comes."""


def unsupported_lines(config: Config, named: Set[str]) -> Iterator[str]:
    """A sentence for each key of `named`, those that were set, whose value asks for what does not exist here."""
    for dotted, instead in UNSUPPORTED.items():
        entry = entries()[dotted]
        if dotted in named and value_of(config, entry) != entry.default:
            yield f"{entry.name} has no effect yet: {instead}"
