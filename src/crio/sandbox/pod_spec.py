"""A pod in the form of an OCI specification, for who inspects it.

No runtime sees it: a pod is namespaces and a control group, and has no container of its own. Tools find those in it
(`crictl inspectp`), under the names at which they look for them in the specification of CRI-O's infra containers.
"""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.message import Message

from crio.sandbox import cgroups
from crio.sandbox.sandbox import Sandbox
from crio.spec.annotations import OLDER, POD_LINUX_OVERHEAD, POD_LINUX_RESOURCES, SPOOFED
from crio.spec.oci_runtime import VERSION, Linux, Namespace

PREFIX = "io.kubernetes.cri-o."
_TYPES = {"net": "network", "ipc": "ipc", "uts": "uts", "user": "user", "pid": "pid"}


def pod_spec(sandbox: Sandbox) -> dict[str, Any]:
    """The pod's host name, annotations with what CRI-O tells in them, namespaces, control group and sysctls."""
    record = sandbox.record
    paths = {**record.namespaces, "pid": sandbox.pid_namespace}
    manager = cgroups.manager_of(record.cgroup_parent)
    return {
        "ociVersion": VERSION,
        "hostname": record.hostname,
        "annotations": {**sandbox.config.annotations, **pod_annotations(sandbox)},
        "linux": Linux(
            uid_mappings=record.uid_mappings,
            gid_mappings=record.gid_mappings,
            sysctl=dict(sandbox.config.linux.sysctls),
            cgroups_path=cgroups.runtime_path(record.cgroup_parent, record.id, manager) if record.cgroup_parent else "",
            namespaces=[Namespace(kind, paths[name]) for name, kind in _TYPES.items() if paths.get(name)],
            mount_label=record.mount_label,
        ),
    }


def pod_annotations(sandbox: Sandbox) -> dict[str, str]:
    """What CRI-O notes of a pod in annotations."""
    record, config = sandbox.record, sandbox.config
    metadata = config.metadata
    book = {
        "Annotations": _json(dict(config.annotations)),
        "CgroupParent": record.cgroup_parent,
        "ContainerID": record.id,
        "ContainerName": f"k8s_POD_{record.name.removeprefix('k8s_')}",
        "ContainerType": "sandbox",
        "HostName": record.hostname,
        "HostNetwork": _json(sandbox.host_network),
        "HostnamePath": sandbox.path("hostname"),
        "KubeName": metadata.name,
        "Labels": _json(dict(config.labels)),
        "Metadata": _json(_plain(metadata)),
        "Name": record.name,
        "Namespace": metadata.namespace,
        "NamespaceOptions": _json(_plain(sandbox.options)),
        "PortMappings": _json([_plain(mapping) for mapping in config.port_mappings]),
        "PrivilegedRuntime": _json(sandbox.privileged),
        "ResolvPath": sandbox.path("resolv.conf"),
        "RuntimeHandler": record.runtime_handler,
        "SandboxID": record.id,
        "SandboxName": record.name,
        "ShmPath": record.shm_path,
    }
    if record.network_result:
        book["CNIResult"] = record.network_result.decode("utf-8", "replace")
    for index, address in enumerate(record.ips):
        book[f"IP.{index}"] = address
    found = {PREFIX + key: value for key, value in book.items()}
    found["io.container.manager"] = "cri-o"
    if not record.pause_pid:
        found |= _in_both_spellings(SPOOFED, "true")
    found |= _in_both_spellings(POD_LINUX_OVERHEAD, _json(_plain(config.linux.overhead)))
    found |= _in_both_spellings(POD_LINUX_RESOURCES, _json(_plain(config.linux.resources)))
    return found


def _in_both_spellings(name: str, value: str) -> dict[str, str]:
    return {name: value, OLDER[name]: value}


def _plain(message: Message) -> dict[str, Any]:
    """The fields that are set, by the names of the protocol; numbers stay numbers."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            found[field.name] = list(value) if field.is_repeated else value
        elif field.message_type.GetOptions().map_entry:
            found[field.name] = dict(value)
        else:
            found[field.name] = [_plain(item) for item in value] if field.is_repeated else _plain(value)
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
