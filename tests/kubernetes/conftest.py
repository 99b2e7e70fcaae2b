"""A real kubelet, alone or with a control plane, on a node of this project's. The programs are taken from the PATH."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cgroup_hybrid import crun_cgroups
from images import busybox_layout
from kubernetes_bed import CONTROL_PLANE, Cluster, Kubelet, eventually, missing
from node import Node

SCRATCH = Path("/dev/shm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is missing here skips the tests, and does not fail them."""
    for item in items:
        if Path(str(item.path)).parent != Path(__file__).parent:
            continue
        item.add_marker(pytest.mark.kubelet)
        wanted = ("kubelet",) if "standalone" in item.name else ("kubelet", *CONTROL_PLANE)
        if absent := missing(*wanted):
            item.add_marker(pytest.mark.skip(reason=f"not on the PATH: {', '.join(absent)}"))


@pytest.fixture(scope="module", autouse=True)
def _crun_can_run() -> Iterator[None]:
    with crun_cgroups():
        yield


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A scratch directory, and in it `mnt`: a mount namespace in which /run is empty but for /run/crio.

    cAdvisor looks for the daemon at /var/run/crio/crio.sock and nowhere else. The daemon joins the namespace by
    KUBENSMNT, the kubelet by nsenter, and the machine's own /run/crio is not touched.
    """
    root = SCRATCH / f"crio-kube-{uuid.uuid4().hex[:8]}"
    (root / "n" / "run").mkdir(parents=True)
    namespace = root / "mnt"
    namespace.touch()
    # A namespace can be pinned only on a mount that is private to it.
    subprocess.run(["mount", "--bind", "--make-private", root, root], check=True)
    script = f"mount -t tmpfs none /run && mkdir /run/crio && mount --bind {root}/n/run /run/crio"
    unshare = ["unshare", f"--mount={namespace}", "--propagation=private", "sh", "-ec", script]
    subprocess.run(unshare, check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", namespace], check=False)
        subprocess.run(["umount", "-l", root], check=False)
        shutil.rmtree(root, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(place: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A daemon with the busybox image."""
    node = Node(place / "n", settings="enable_pod_events = true", env={"KUBENSMNT": str(place / "mnt")})
    node.socket = place / "n" / "run" / "crio.sock"
    node.write_config()
    await node.start()
    await node.load(busybox_layout(str(tmp_path_factory.mktemp("layout"))))
    try:
        yield node
        await node.remove_all_pods()
        assert await node.stop() == 0
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()
        node.remove_files()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(node: Node) -> AsyncIterator[Cluster]:
    """The control plane, without a node yet."""
    cluster = Cluster(node.root / "control")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubelet(node: Node, cluster: Cluster) -> AsyncIterator[Kubelet]:
    """The cluster's one node, ready."""
    kubelet = Kubelet(node, cluster.kubeconfig)
    kubelet.start()
    try:
        eventually("the node is ready", lambda: _node_ready(cluster), timeout=90)
        cluster.kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-", check=False)
        yield kubelet
        cluster.kubectl("delete", "pods", "--all", "--grace-period=1", timeout=90)
    finally:
        kubelet.stop()
        await node.remove_all_pods()
        kubelet.clean()


def _node_ready(cluster: Cluster) -> bool:
    conditions = cluster.get("node", "localhost")["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
