"""SELinux labels of pods: made from the request, the policy, and a pair of categories that no other pod has."""

from __future__ import annotations

from functools import cached_property

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.linux import selinux
from crio.security.selinux import (
    Labels,
    McsPairs,
    PolicyContexts,
    as_type_of,
    container_labels,
    load_policy_contexts,
    pod_labels,
)


class PodLabels:
    """The labels in use on this node. Without SELinux (`enabled`) all labels are empty, and nothing is kept."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._pairs = McsPairs()

    @cached_property
    def policy(self) -> PolicyContexts:
        return load_policy_contexts()

    def make(self, config: pb.PodSandboxConfig, *, unconfined_on_host_network: bool) -> Labels:
        """The labels of a new pod; give them back by `release`.

        A pod that is privileged or shares processes or IPC with the host is not confined. Raises InvalidArgument for
        a request that names no label of the policy, ResourceExhausted.
        """
        context = config.linux.security_context
        options = context.namespace_options
        if not self.enabled or context.privileged or pb.NODE in (options.pid, options.ipc):
            return Labels()
        labels = pod_labels(context.selinux_options, self._pairs, self.policy)
        try:
            _check(labels, context.selinux_options)
        except InvalidArgument:
            self.release(labels)
            raise
        if options.network == pb.NODE and unconfined_on_host_network:
            return Labels("", labels.mount)
        return labels

    def reserve(self, labels: Labels) -> None:
        """Count the labels of a pod that an earlier daemon has made."""
        self._pairs.reserve(labels.mount)

    def release(self, labels: Labels) -> None:
        """The pod is gone; fine for empty labels."""
        self._pairs.release(labels.mount)

    def of_container(self, pod: Labels, context: pb.LinuxContainerSecurityContext) -> Labels:
        """A container's labels: its pod's with its own request over them; the process of a privileged one has none.

        Raises InvalidArgument for a request that names no label of the policy.
        """
        labels = container_labels(pod, context.selinux_options)
        _check(labels, context.selinux_options)
        return Labels("", labels.mount) if context.privileged else labels

    def of_init(self, labels: Labels) -> str:
        """The process label where the container's first process is an init system such as systemd."""
        return as_type_of(labels.process, self.policy.init) if labels.process else ""


def _check(labels: Labels, option: pb.SELinuxOption) -> None:
    """The runtime would only say that an argument is invalid."""
    if not option.ByteSize():
        return
    for label in (labels.process, labels.mount):
        if label and not selinux.knows(label):
            raise InvalidArgument(
                f"cannot use SELinux label {label}: the node's policy does not have it; "
                "`seinfo -t -r -u` lists what it has"
            )
