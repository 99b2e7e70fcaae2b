from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.daemon.subject import answered, subject


def test_pods_containers_and_images_are_told() -> None:
    pod = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="web", namespace="shop", uid="u"))
    assert subject(pb.RunPodSandboxRequest(config=pod)) == {"pod_name": "web", "namespace": "shop"}
    container = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="nginx"))
    request = pb.CreateContainerRequest(pod_sandbox_id="p1", config=container, sandbox_config=pod)
    assert subject(request) == {"pod": "p1", "container_name": "nginx"}
    assert subject(pb.StopContainerRequest(container_id="c1")) == {"container": "c1"}
    assert subject(pb.PullImageRequest(image=pb.ImageSpec(image="busybox"))) == {"image": "busybox"}


def test_a_request_about_nothing_tells_nothing() -> None:
    assert subject(pb.VersionRequest()) == {}
    assert subject(pb.ListContainersRequest()) == {}


def test_answers_tell_what_was_made() -> None:
    assert answered("RunPodSandbox", pb.RunPodSandboxResponse(pod_sandbox_id="p1")) == {"pod": "p1"}
    assert answered("CreateContainer", pb.CreateContainerResponse(container_id="c1")) == {"container": "c1"}
    assert answered("GetContainerEvents", None) == {}
