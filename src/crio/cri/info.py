"""The verbose part of status answers: JSON texts that crictl prints and debug tools read."""

from __future__ import annotations

import msgspec

from crio.base.errors import CrioError
from crio.base.files import read_bounded
from crio.container.container import Container
from crio.container.create import CONFIG_FILE
from crio.image.records import ImageInfo
from crio.sandbox.sandbox import Sandbox

_SPEC_LIMIT = 8 << 20


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def sandbox_info(sandbox: Sandbox, pause_image: str) -> dict[str, str]:
    """What CRI-O tells of a sandbox, with the names that `crictl inspectp` users know."""
    from crio.sandbox.pod_spec import pod_spec  # lazy: only people ask

    return {
        "info": _json(
            {
                "image": pause_image,
                "pid": sandbox.record.pause_pid,
                "runtimeSpec": pod_spec(sandbox),
                "namespaces": sandbox.record.namespaces,
                "cgroupParent": sandbox.record.cgroup_parent,
                "cniResult": msgspec.Raw(sandbox.record.network_result or b"null"),
            }
        )
    }


def container_info(container: Container) -> dict[str, str]:
    """What CRI-O tells of a container, with the names that `crictl inspect` users know."""
    try:
        spec = msgspec.Raw(read_bounded(container.path(CONFIG_FILE), _SPEC_LIMIT))
    except (OSError, CrioError):
        spec = msgspec.Raw(b"null")
    return {
        "info": _json(
            {
                "sandboxID": container.record.sandbox_id,
                "pid": container.record.pid if container.exit is None else 0,
                "runtimeSpec": spec,
                "privileged": container.config.linux.security_context.privileged,
                "runtimeHandler": container.record.handler,
                "rootfs": container.record.rootfs,
                "cgroupPath": container.record.cgroup_path,
            }
        )
    }


def image_info(image: ImageInfo) -> dict[str, str]:
    """The image's labels and its configuration."""
    return {"info": _json({"labels": image.labels, "imageSpec": image.config_document})}
