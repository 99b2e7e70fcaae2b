"""Annotations of the specification: the pod's and container's own, and what tools read about a CRI-O container.

The bookkeeping comes last, so that a pod cannot pass for another one by an annotation of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.regex import regex
from crio.container.specgen.input import ContainerInput
from crio.spec.annotations import OLDER, PLATFORM_RUNTIME_PATH, STOP_SIGNAL, TRACE_SYSCALL

PREFIX = "io.kubernetes.cri-o."
_GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
_SECCOMP_PROGRAM = "run.oci.seccomp_bpf_data"
"""crun(1): it installs this filter, rather than spending most of its time on compiling `linux.seccomp`."""
_SECONDS = regex(r"\d{1,10}")
_encoder = msgspec.json.Encoder(order="deterministic")


def all_annotations(
    given: ContainerInput,
    *,
    pod: Mapping[str, str],
    container: Mapping[str, str],
    volumes: Sequence[pb.Mount],
    seccomp_reference: str,
    stop_signal: str,
    seccomp_program: str = "",
) -> dict[str, str]:
    """All annotations of the specification. `pod` and `container` are already filtered for what is allowed."""
    config, sandbox, image = given.config, given.sandbox, given.image
    found = {**given.handler.settings.default_annotations, **pod}
    traced = found.pop(f"{TRACE_SYSCALL}/{config.metadata.name}", None)
    if traced is not None:
        # The hook knows no containers' names: each container gets its own value under the plain name.
        found[TRACE_SYSCALL] = traced
    found.update(container)
    found.update(config.labels)
    found.update(_systemd(given, container))
    book = {
        "Annotations": _json(dict(config.annotations)),
        "ContainerID": given.id,
        "ContainerName": given.name,
        "ContainerType": "container",
        "Created": _time(given.created_at),
        "HostName": sandbox.hostname,
        "Image": image.requested,
        "ImageName": image.name,
        "ImageRef": image.id,
        "KubeName": config.metadata.name,
        "Labels": _json(dict(config.labels)),
        "LogPath": given.log_path,
        "Metadata": _json({"name": config.metadata.name, "attempt": config.metadata.attempt}),
        "MountPoint": given.rootfs,
        "Name": given.name,
        "Namespace": given.sandbox_config.metadata.namespace,
        "ResolvPath": sandbox.resolv_conf,
        "RuntimeHandler": given.handler.name,
        "SandboxID": sandbox.id,
        "SandboxName": sandbox.name,
        "SeccompProfilePath": seccomp_reference,
        "ShmPath": sandbox.shm,
        "Stdin": _boolean(config.stdin),
        "StdinOnce": _boolean(config.stdin_once),
        "TTY": _boolean(config.tty),
        "Volumes": _json([_volume(mount) for mount in volumes]) if volumes else "[]",
    }
    if image.repo_digests:
        book["ImageRepoDigests"] = ",".join(image.repo_digests)
    for index, address in enumerate(sandbox.ips):
        book[f"IP.{index}"] = address
    for key, value in book.items():
        found[PREFIX + key] = value
    found["io.container.manager"] = "cri-o"
    found[STOP_SIGNAL] = stop_signal
    if seccomp_program:
        found[_SECCOMP_PROGRAM] = seccomp_program
    for name in (PLATFORM_RUNTIME_PATH, OLDER[PLATFORM_RUNTIME_PATH]):
        # Never the pod's own word for it.
        found.pop(name, None)
        if given.handler.platform_path:
            found[name] = given.handler.platform_path
    return found


def _systemd(given: ContainerInput, container: Mapping[str, str]) -> dict[str, str]:
    """Properties of the container's scope: how long systemd waits for it when the node shuts down, and after whom."""
    if given.runtime.cgroup_manager != "systemd":
        return {}
    properties = {
        "org.systemd.property.DefaultDependencies": "true",
        "org.systemd.property.After": "['crio.service']",
    }
    grace = container.get(_GRACE_PERIOD, "")
    if _SECONDS.fullmatch(grace):
        properties["org.systemd.property.TimeoutStopUSec"] = f"uint64 {grace}000000"
    return properties


def _volume(mount: pb.Mount) -> dict[str, Any]:
    return {
        "container_path": mount.container_path,
        "host_path": mount.host_path,
        "readonly": mount.readonly,
        "propagation": mount.propagation,
        "selinux_relabel": mount.selinux_relabel,
    }


def _json(value: Any) -> str:
    return _encoder.encode(value).decode()


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _time(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
