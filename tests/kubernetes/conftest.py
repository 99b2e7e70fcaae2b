"""A real kubelet, alone or with a control plane, on a node of this project's. The programs are taken from the PATH."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cgroup_hybrid import crun_cgroups
from images import BUSYBOX_NAME, busybox_layout
from kubernetes_bed import CONTROL_PLANE, Cluster, Kubelet, eventually, missing
from kubernetes_place import own_mounts, own_network
from node import Node, running

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


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[Path]:
    """A scratch directory, with the network of this thread and the mount namespace `mnt` in it kept apart."""
    with own_network(), own_mounts(SCRATCH / f"crio-kube-{uuid.uuid4().hex[:8]}") as root:
        yield root


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(place: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A daemon with the busybox image, which no clean-up removes."""
    node = Node(place / "n", settings="enable_pod_events = true", env={"KUBENSMNT": str(place / "mnt")})
    node.socket = place / "n" / "run" / "crio.sock"
    node.write_config()
    (node.root / "conf.d" / "10-pinned.conf").write_text(f'[crio.image]\npinned_images = ["{BUSYBOX_NAME}"]\n')
    async with running(node, busybox_layout(str(tmp_path_factory.mktemp("layout")))):
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(place: Path) -> AsyncIterator[Cluster]:
    """The control plane, without a node yet."""
    cluster = Cluster(place / "control")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def kubelet_settings() -> dict[str, object]:
    """What a module's kubelet has besides."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kubelet(node: Node, cluster: Cluster, kubelet_settings: dict[str, object]) -> AsyncIterator[Kubelet]:
    """The cluster's one node, ready."""
    kubelet = Kubelet(node, cluster.kubeconfig, **kubelet_settings)
    kubelet.start()
    try:
        eventually("the node is ready", lambda: _node_ready(cluster, kubelet))
        cluster.kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-", check=False)
        yield kubelet
        cluster.kubectl("delete", "pods", "--all", "--grace-period=1")
    finally:
        kubelet.stop()
        await node.remove_all_pods()
        kubelet.clean()


def _node_ready(cluster: Cluster, kubelet: Kubelet) -> bool:
    if not kubelet.running:
        raise RuntimeError(f"the kubelet has ended:\n{kubelet.log_tail()}")
    conditions = cluster.get("node", "localhost")["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
