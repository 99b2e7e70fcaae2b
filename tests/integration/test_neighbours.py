"""What other programs of a node ask the daemon, byte by byte where they speak HTTP."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from node import CGROUP_MANAGER, Node


class CadvisorClient:
    """Go's HTTP client as cAdvisor has it: one connection that is kept, and only these headers."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def get(self, target: str) -> tuple[int, bytes]:
        request = (
            f"GET {target} HTTP/1.1\r\nHost: crio\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_cadvisor(node: Node) -> None:
    pod_config = node.pod_config("web")
    pod_config.labels["io.kubernetes.pod.name"] = "web"
    pod = await node.run_pod(pod_config)
    config = node.container_config(["sleep", "1000"])
    config.labels["io.kubernetes.container.name"] = "ctr"
    config.annotations["io.kubernetes.container.restartCount"] = "2"
    container = await node.create(pod, config, pod_config)
    client = CadvisorClient(str(node.socket))

    def ask(target: str) -> Any:
        status, body = client.get(target)
        assert status == 200, body
        return json.loads(body)

    try:
        assert ask("/info") == {
            "storage_driver": "overlay",
            "storage_root": f"{node.root}/storage",
            "storage_image": "",
            "cgroup_driver": CGROUP_MANAGER,
            "default_id_mappings": {"uids": [], "gids": []},
        }
        # Before the start there may be no process; cAdvisor asks again until there is one.
        found = ask(f"/containers/{container}")
        assert found["labels"]["io.kubernetes.container.name"] == "ctr"
        assert found["annotations"]["io.kubernetes.container.restartCount"] == "2"
        await node.start_container(container)
        found = ask(f"/containers/{container}")
        assert found["pid"] > 0
        assert found["log_path"] == f"{node.logs}/web/ctr.log"
        assert found["root"].startswith(f"{node.root}/storage/overlay/")
        assert found["sandbox"] == pod
        # The pod's figures are read through any process of it, under the name that cAdvisor looks for.
        infra = ask(f"/containers/{pod}")
        assert infra["pid"] == found["pid"]
        assert infra["labels"]["io.kubernetes.container.name"] == "POD"
        assert infra["ip_addresses"] == found["ip_addresses"] != []
        assert client.get("/containers/" + "f" * 64)[0] == 404
        assert client.get("/pause/" + container) == (200, b"200 OK")
        assert (await node.status(container)).state == pb.CONTAINER_RUNNING
        assert client.get("/unpause/" + container) == (200, b"200 OK")
    finally:
        client.close()


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_kubeadm_and_crictl(node: Node) -> None:
    version = await node.call("Version", pb.VersionRequest(), pb.VersionResponse)
    assert (version.version, version.runtime_name, version.runtime_api_version) == ("0.1.0", "cri-o", "v1")
    status = await node.call("Status", pb.StatusRequest(verbose=True), pb.StatusResponse)
    assert {each.type: each.status for each in status.status.conditions} == {"RuntimeReady": True, "NetworkReady": True}
    # kubeadm compares this with its own pause image.
    assert json.loads(status.info["config"])["sandboxImage"] == "registry.k8s.io/pause:3.10.1"
    driver = await node.call("RuntimeConfig", pb.RuntimeConfigRequest(), pb.RuntimeConfigResponse)
    assert pb.CgroupDriver.Name(driver.linux.cgroup_driver).lower() == CGROUP_MANAGER
    # The kubelet sends the pod CIDR, and takes an error for a broken runtime.
    update = pb.UpdateRuntimeConfigRequest(runtime_config=pb.RuntimeConfig())
    update.runtime_config.network_config.pod_cidr = "10.1.0.0/24"
    await node.call("UpdateRuntimeConfig", update, pb.UpdateRuntimeConfigResponse)
    image = await node.call(
        "ImageStatus", pb.ImageStatusRequest(image=pb.ImageSpec(image="nothing:1")), pb.ImageStatusResponse
    )
    assert not image.HasField("image")
    # kubeadm reset: what is there is listed, stopped and removed, twice.
    pod_config = node.pod_config("etcd")
    pod = await node.run_pod(pod_config)
    verbose = pb.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True)
    answer = await node.call("PodSandboxStatus", verbose, pb.PodSandboxStatusResponse)
    assert "runtimeSpec" in json.loads(answer.info["info"])
    for _ in range(2):
        await node.stop_pod(pod)
        await node.remove_pod(pod)
    assert await node.pods() == []
