"""Pods and containers as cAdvisor's crio client and `crio status` want them: one JSON object for an id."""

from __future__ import annotations

import os
from typing import Any

from crio.base.errors import CrioError, NotFound
from crio.base.ids import is_full_id
from crio.container import record as container_record
from crio.container.container import Container
from crio.cri.node import Node
from crio.sandbox import record as sandbox_record
from crio.sandbox.sandbox import Sandbox


class Described:
    """Finds what has an id, from the moment at which it is recorded.

    cAdvisor asks as soon as it sees a control group, which is before the creation is over, and it asks once. `state` is
    the daemon's state directory; `pod_root` a directory which stands for the root that a pod has not.
    """

    def __init__(self, node: Node, state: str, pod_root: str) -> None:
        self._node = node
        self._state = state
        self._pod_root = pod_root

    def describe(self, object_id: str) -> dict[str, Any]:
        """Raises NotFound, and InvalidArgument if several ids begin like this."""
        sandbox = self._node.sandboxes.find(object_id)
        if sandbox is not None:
            return self._sandbox(sandbox)
        try:
            container = self._node.containers.get(object_id)
        except NotFound:
            return self._in_the_making(object_id)
        return self._container(container)

    def _in_the_making(self, object_id: str) -> dict[str, Any]:
        missing = NotFound(f"cannot find container {object_id[:80]!r}: no such id")
        if not is_full_id(object_id):
            raise missing
        directory = os.path.join(self._state, "sandboxes", object_id)
        try:
            if os.path.isdir(directory):
                return self._sandbox(Sandbox(directory, sandbox_record.load(directory)))
            directory = os.path.join(self._state, "containers", object_id)
            return self._container(Container(directory, container_record.load(directory)))
        except (CrioError, OSError):
            raise missing from None

    def _sandbox(self, sandbox: Sandbox) -> dict[str, Any]:
        """A pod counts as a container there; by its name POD the one whose network counters are the pod's."""
        record, pod = sandbox.record, sandbox.config
        return {
            "name": sandbox.name,
            "pid": record.pause_pid or self._any_pid(sandbox.id),
            "image": self._node.config().image.pause_image,
            "image_ref": "",
            "created_time": record.created_at,
            "labels": {**pod.labels, "io.kubernetes.container.name": "POD"},
            "annotations": dict(pod.annotations),
            "crio_annotations": {"io.kubernetes.cri-o.ContainerType": "sandbox"},
            "log_path": pod.log_directory,
            "root": self._pod_root,
            "sandbox": sandbox.id,
            "ip_addresses": list(record.ips),
            "host_network": sandbox.host_network,
        }

    def _container(self, container: Container) -> dict[str, Any]:
        record, config = container.record, container.config
        owner = self._node.sandboxes.find(record.sandbox_id)
        return {
            "name": container.name,
            "pid": record.pid if container.running else 0,
            "image": record.image_name,
            "image_ref": record.image_digest,
            "created_time": record.created_at,
            "labels": dict(config.labels),
            "annotations": dict(config.annotations),
            "crio_annotations": {"io.kubernetes.cri-o.ContainerType": "container"},
            "log_path": record.log_path,
            "root": record.rootfs,
            "sandbox": record.sandbox_id,
            "ip_addresses": list(owner.record.ips) if owner is not None else [],
            "host_network": owner.host_network if owner is not None else False,
        }

    def _any_pid(self, sandbox_id: str) -> int:
        """A process in the pod's namespaces: cAdvisor reads the pod's network counters through it."""
        running = (c.record.pid for c in self._node.containers.of_sandbox(sandbox_id) if c.running)
        return next(running, 0)
