"""How containers are named, and the checks on what a request says of one."""

from __future__ import annotations

import os

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.sandbox.names import is_name

_LABEL_LIMIT = 4096
"""Bytes of key and value of one label, together; CRI-O's limit."""


def container_name(container: pb.ContainerMetadata, pod: pb.PodSandboxMetadata) -> str:
    """`k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`: unique on the node."""
    return f"k8s_{container.name}_{pod.name}_{pod.namespace}_{pod.uid}_{container.attempt}"


def check_config(config: pb.ContainerConfig) -> None:
    """Raise InvalidArgument for a ContainerConfig that lacks what every container needs, or carries what none may."""
    name = config.metadata.name
    if not name:
        raise InvalidArgument("cannot create the container: metadata.name of the ContainerConfig is empty")
    if not is_name(name):
        raise InvalidArgument(f"cannot create the container: metadata.name {name[:80]!r} is not a Kubernetes name")
    if not config.image.image:
        raise InvalidArgument(f"cannot create container {name}: image.image is empty")
    for key, value in config.labels.items():
        if len(key.encode()) + len(value.encode()) > _LABEL_LIMIT:
            raise InvalidArgument(
                f"cannot create container {name}: label {key[:80]!r} is longer than {_LABEL_LIMIT} bytes"
            )
    if config.linux.security_context.HasField("run_as_group") and not (
        config.linux.security_context.HasField("run_as_user") or config.linux.security_context.run_as_username
    ):
        raise InvalidArgument(f"cannot create container {name}: run_as_group needs run_as_user or run_as_username")
    if ".." in config.log_path.split("/"):
        raise InvalidArgument(
            f"cannot create container {name}: log_path {config.log_path[:200]!r} leaves the log directory"
        )
    if "\0" in config.log_path:
        raise InvalidArgument(f"cannot create container {name}: log_path contains a NUL character")


def log_path(sandbox: pb.PodSandboxConfig, container: pb.ContainerConfig) -> str:
    """Where the container's log goes; "" for nowhere, as the CRI has it when either part is empty."""
    if not sandbox.log_directory or not container.log_path:
        return ""
    # An absolute one is meant below the directory too.
    return os.path.join(sandbox.log_directory, container.log_path.lstrip("/"))
