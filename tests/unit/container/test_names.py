"""Container names, and configs that no container can have."""

from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.names import check_config, container_name, log_path

POD = pb.PodSandboxConfig(
    metadata=pb.PodSandboxMetadata(name="web", namespace="default", uid="u1", attempt=7),
    log_directory="/var/log/pods/x",
)


def config() -> pb.ContainerConfig:
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="app", attempt=2), image=pb.ImageSpec(image="busybox"), log_path="app/0.log"
    )


def test_the_name_is_unique_per_attempt() -> None:
    assert container_name(config().metadata, POD.metadata) == "k8s_app_web_default_u1_2"
    check_config(config())


def test_the_log_needs_both_parts() -> None:
    assert log_path(POD, config()) == "/var/log/pods/x/app/0.log"
    assert log_path(POD, pb.ContainerConfig(log_path="/app/0.log")) == "/var/log/pods/x/app/0.log"
    assert log_path(pb.PodSandboxConfig(), config()) == ""
    assert log_path(POD, pb.ContainerConfig()) == ""


def broken(change: str) -> pb.ContainerConfig:
    item = config()
    match change:
        case "no name":
            item.metadata.name = ""
        case "name with a slash":
            item.metadata.name = "../x"
        case "no image":
            item.image.image = ""
        case "label":
            item.labels["k"] = "x" * 4096
        case "group without user":
            item.linux.security_context.run_as_group.value = 1
        case "log path":
            item.log_path = "../../etc/passwd"
    return item


@pytest.mark.parametrize(
    "change", ["no name", "name with a slash", "no image", "label", "group without user", "log path"]
)
def test_configs_that_cannot_be(change: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot create"):
        check_config(broken(change))
