"""How pods are named, and the checks on what a request says of one."""

from __future__ import annotations

from collections.abc import MutableMapping

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.base.regex import regex

_HOSTNAME = regex(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_LONGEST_NAME = 253
_SHORT_ID = 12


def sandbox_name(metadata: pb.PodSandboxMetadata) -> str:
    """`k8s_<pod>_<namespace>_<uid>_<attempt>`: unique on the node (SPEC of dockershim's naming, kept by CRI-O)."""
    return f"k8s_{metadata.name}_{metadata.namespace}_{metadata.uid}_{metadata.attempt}"


def is_name(text: str) -> bool:
    """Whether a text may be part of the names that are made of it, in logs and files."""
    return 0 < len(text) <= _LONGEST_NAME and text not in (".", "..") and "/" not in text and text.isprintable()


def check_config(config: pb.PodSandboxConfig) -> None:
    """Raise InvalidArgument for a PodSandboxConfig that lacks what every pod needs, or carries what none may."""
    for field in ("name", "namespace"):
        value = getattr(config.metadata, field)
        if not value:
            raise InvalidArgument(f"cannot run the pod: metadata.{field} of the PodSandboxConfig is empty")
        if not is_name(value):
            raise InvalidArgument(f"cannot run the pod: metadata.{field} {value[:80]!r} is not a Kubernetes name")
    uid = config.metadata.uid
    if uid and not is_name(uid):
        raise InvalidArgument(f"cannot run pod {config.metadata.name}: metadata.uid {uid[:80]!r} is no id of a pod")
    if config.hostname and not _HOSTNAME.fullmatch(config.hostname):
        raise InvalidArgument(
            f"cannot run pod {config.metadata.name}: hostname {config.hostname[:80]!r} is not a host name"
        )
    for field in ("servers", "searches", "options"):
        for value in getattr(config.dns_config, field):
            if not value or any(c.isspace() or not c.isprintable() for c in value):
                raise InvalidArgument(
                    f"cannot run pod {config.metadata.name}: dns_config.{field} has {value[:80]!r}, which would break "
                    "resolv.conf"
                )
    logs = config.log_directory
    if logs and (not logs.startswith("/") or "\0" in logs):
        raise InvalidArgument(
            f"cannot run pod {config.metadata.name}: log_directory {logs[:200]!r} is not an absolute path"
        )
    for mapping in config.port_mappings:
        if mapping.protocol not in pb.Protocol.values():
            raise InvalidArgument(
                f"cannot run pod {config.metadata.name}: protocol {mapping.protocol} of port {mapping.container_port} "
                "is not known; there are TCP, UDP and SCTP"
            )


def add_pod_labels(labels: MutableMapping[str, str], pod: pb.PodSandboxMetadata) -> None:
    """Fill in the labels by which tools find a pod, where a client other than the kubelet has left them out."""
    for name in ("name", "namespace", "uid"):
        if value := getattr(pod, name):
            labels.setdefault(f"io.kubernetes.pod.{name}", value)


def short_hostname(sandbox_id: str) -> str:
    """The host name of a pod that asks for none."""
    return sandbox_id[:_SHORT_ID]
