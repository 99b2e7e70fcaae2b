"""kubeadm makes a cluster whose control plane runs in pods of this daemon, and takes it away again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from crio.api.runtime.v1 import api_pb2 as pb
from kubeadm_bed import NAME, PROGRAMS, Kubeadm
from kubernetes_bed import container, eventually, is_ready, missing, pod
from node import Node
from registry_server import registry

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing(*PROGRAMS)), reason=f"not on the PATH: {', '.join(missing(*PROGRAMS))}"),
]

IGNORED = "NumCPU,Mem,Swap,SystemVerification"
"""What kubeadm refuses of a machine for tests: few processors, little memory, cgroup v1."""


@pytest_asyncio.fixture(loop_scope="module")
async def kubeadm(node: Node, place: Path) -> AsyncIterator[Kubeadm]:
    kubeadm = Kubeadm(node, place / "kubeadm")
    kubeadm.make_cgroups()
    try:
        yield kubeadm
    finally:
        kubeadm.run("systemctl", "stop", "kubelet")
        await node.remove_all_pods()
        kubeadm.remove_cgroups()


async def test_init_and_reset(node: Node, place: Path, kubeadm: Kubeadm) -> None:
    with registry(str(place / "registry")) as mirror:
        kubeadm.publish(mirror)
        kubeadm.run("kubeadm", "config", "images", "pull", f"--config={kubeadm.config}", timeout=300)
        listed = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
        assert set(kubeadm.images()) <= {tag for image in listed.images for tag in image.repo_tags}

    arguments = (f"--config={kubeadm.config}", f"--ignore-preflight-errors={IGNORED}", "--v=1")
    try:
        printed = kubeadm.run("kubeadm", "init", *arguments, timeout=600)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{kubeadm.log_tail()}") from None
    assert "Your Kubernetes control-plane has initialized successfully!" in printed
    assert "[WARNING ContainerRuntime" not in printed
    # The pods of the control plane are this daemon's.
    static = {each.metadata.name for each in await node.pods() if each.state == pb.SANDBOX_READY}
    components = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    assert static == {f"{component}-{NAME}" for component in components}

    cluster = kubeadm.cluster()
    eventually("the node is ready", lambda: is_ready(cluster.get("node", NAME)))
    eventually("the default service account is there", lambda: cluster.get("serviceaccount", "default"))
    info = cluster.get("node", NAME)["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("cri-o://")
    cluster.apply(pod("deaf", container("main", ["sh", "-c", "trap '' TERM; echo here; while :; do sleep 1; done"])))
    cluster.wait_pod("deaf", is_ready)
    assert cluster.kubectl("exec", "deaf", "--", "echo", "through") == "through\n"
    assert cluster.kubectl("logs", "deaf") == "here\n"

    reset = kubeadm.run("kubeadm", "reset", "--force", "--cri-socket=unix:///var/run/crio/crio.sock", timeout=300)
    assert "Failed to remove containers" not in reset
    assert await node.pods() == []
    assert await node.containers() == []
    assert node.leases() == []
    assert not list((kubeadm.root / "etc" / "kubernetes").glob("manifests/*"))
