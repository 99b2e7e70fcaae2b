"""Keys of older CRI-O releases and of other places, which files in the field still have."""

from __future__ import annotations

from collections.abc import Mapping

ELSEWHERE: Mapping[str, str] = {
    "crio.image.separate_pull_cgroup": "crio.runtime.separate_pull_cgroup",
}
"""Keys which the manual put into another table than the program: both are read."""

_NAMESPACES = "namespaces of pods are always managed"
_REGISTRIES = "set unqualified-search-registries in registries.conf"

REMOVED: Mapping[str, str] = {
    "crio.file_locking": "the storage locks its own files",
    "crio.file_locking_path": "the storage locks its own files",
    "crio.api.host_ip": "addresses of the host are found by themselves",
    "crio.api.enable_profile_unix_socket": "the inspect endpoints are always served on the socket",
    "crio.image.registries": _REGISTRIES,
    "crio.runtime.registries": _REGISTRIES,
    "crio.runtime.manage_network_ns_lifecycle": _NAMESPACES,
    "crio.runtime.manage_ns_lifecycle": _NAMESPACES,
    "crio.runtime.hooks_dir_path": "use hooks_dir",
    "crio.runtime.runtime": "use a [crio.runtime.runtimes.NAME] table",
    "crio.runtime.runtime_untrusted_workload": "use a [crio.runtime.runtimes.NAME] table and a RuntimeClass",
    "crio.runtime.default_workload_trust": "use a [crio.runtime.runtimes.NAME] table and a RuntimeClass",
    "crio.runtime.seccomp_use_default_when_empty": "set seccompDefault in the kubelet's configuration",
    "crio.runtime.allow_userns_annotation": "use Kubernetes user namespaces (hostUsers: false)",
    "crio.runtime.activation_annotation": "use a [crio.runtime.workloads.NAME] table",
    "crio.nri.nri_config_file": "plug-ins have their own files in nri_plugin_config_dir",
}
"""Keys that a release of CRI-O dropped, and what to do in their place."""
