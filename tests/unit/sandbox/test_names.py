"""Pod names, and configs that no pod can have."""

from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.sandbox.names import add_pod_labels, check_config, sandbox_name


def pod(**changes: object) -> pb.PodSandboxConfig:
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="web", namespace="default", uid="u1", attempt=2))
    config.MergeFrom(pb.PodSandboxConfig(**changes))  # type: ignore[arg-type]
    return config


def test_the_name_is_unique_per_attempt() -> None:
    assert sandbox_name(pod().metadata) == "k8s_web_default_u1_2"
    check_config(pod(hostname="web-0.example", log_directory="/var/log/pods/x"))


@pytest.mark.parametrize("field", ["name", "namespace"])
def test_metadata_must_be_there(field: str) -> None:
    config = pod()
    setattr(config.metadata, field, "")
    with pytest.raises(InvalidArgument, match=rf"metadata\.{field} .* is empty"):
        check_config(config)
    setattr(config.metadata, field, "a/../b")
    with pytest.raises(InvalidArgument, match="not a Kubernetes name"):
        check_config(config)


@pytest.mark.parametrize(
    "config",
    [
        pod(hostname="a b"),
        pod(hostname="-a"),
        pod(log_directory="relative"),
        pod(dns_config=pb.DNSConfig(servers=["1.1.1.1\nnameserver 6.6.6.6"])),
        pod(dns_config=pb.DNSConfig(searches=["a b"])),
        pod(dns_config=pb.DNSConfig(options=[""])),
    ],
)
def test_values_that_would_break_files(config: pb.PodSandboxConfig) -> None:
    with pytest.raises(InvalidArgument, match="cannot run"):
        check_config(config)


def test_labels_of_the_kubelet_are_there_whoever_asks() -> None:
    labels = {"app": "web", "io.kubernetes.pod.name": "given"}
    add_pod_labels(labels, pod().metadata)
    assert labels == {
        "app": "web",
        "io.kubernetes.pod.name": "given",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u1",
    }
