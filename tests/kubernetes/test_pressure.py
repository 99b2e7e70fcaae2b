"""What a kubelet does when memory or disk run out: pods are evicted, images that nobody uses are removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from images import BUSYBOX_NAME, layer, layout
from kubernetes_bed import Cluster, Kubelet, container, eventually, has_ended, is_ready, pod
from node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
SPARE = "localhost/spare:latest"
FOR_PODS = 300
"""MiB of memory that pods may have; they are evicted when less than half of it is left."""
QUICK = {
    "evictionPressureTransitionPeriod": "1s",
    "imageMinimumGCAge": "1s",
    # cAdvisor measures a writable layer once a minute.
    "featureGates": {"PodAndContainerStatsFromCRI": True},
}


@pytest.fixture(scope="module")
def kubelet_settings() -> dict[str, object]:
    (total,) = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line]
    return {
        "systemReserved": {"memory": f"{int(total) // 1024 - FOR_PODS}Mi"},
        "evictionHard": {
            "memory.available": f"{FOR_PODS // 2}Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        **QUICK,
    }


async def _load_spare(node: Node, directory: Path, size: int) -> None:
    directory.mkdir()
    await node.load(layout(str(directory), SPARE, [layer({"fill": os.urandom(MIB) * (size // MIB)})]))


async def _images(node: Node) -> list[str]:
    listed = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
    return sorted(tag for image in listed.images for tag in image.repo_tags)


async def _spare_is_removed(node: Node) -> None:
    """The pinned image stays."""
    for _ in range(360):
        if SPARE not in await _images(node):
            break
        await asyncio.sleep(0.5)
    assert await _images(node) == [BUSYBOX_NAME]


def evicted(found: Mapping[str, Any]) -> str:
    return str(found["status"].get("message")) if found["status"].get("reason") == "Evicted" else ""


async def test_memory(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    requests = {"requests": {"memory": "30Mi"}}
    take = f"until test -e /memory/go; do sleep 0.1; done; dd if=/dev/zero of=/memory/x bs=1M count={FOR_PODS * 2 // 3}"
    cluster.apply(
        pod("modest", container("main", ["sleep", "900"], resources=requests)),
        pod(
            "greedy",
            container(
                "main",
                ["sh", "-c", f"{take}; exec sleep 900"],
                volumeMounts=[{"name": "memory", "mountPath": "/memory"}],
            ),
            volumes=[{"name": "memory", "emptyDir": {"medium": "Memory"}}],
        ),
    )

    def counted() -> bool:
        pods = kubelet.ask("/stats/summary")["pods"]
        return {each["podRef"]["name"] for each in pods if each.get("memory", {}).get("workingSetBytes")} >= {
            "modest",
            "greedy",
        }

    # A pod without figures would be evicted first.
    eventually("the pods are counted", counted)
    cluster.kubectl("exec", "greedy", "--", "touch", "/memory/go")
    found = cluster.wait_pod("greedy", evicted)
    assert "low on resource: memory" in evicted(found)
    assert is_ready(cluster.get("pod", "modest"))
    eventually("the pressure is over", lambda: _conditions(cluster)["MemoryPressure"] == "False")
    cluster.kubectl("delete", "pod", "greedy", "modest", "--wait=false")


def _conditions(cluster: Cluster) -> dict[str, str]:
    return {each["type"]: each["status"] for each in cluster.get("node", "localhost")["status"]["conditions"]}


async def test_a_container_that_writes_more_than_it_may(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    """The kubelet judges by the figures of writable layers and logs."""
    limits = {"limits": {"ephemeral-storage": "4Mi"}}
    fill = ["sh", "-c", "dd if=/dev/zero of=/x bs=1M count=8; exec sleep 900"]
    chatter = ["sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' 'x' | fold -w 100; exec sleep 900"]
    cluster.apply(
        pod("writer", container("main", fill, resources=limits)),
        pod("talker", container("main", chatter, resources=limits)),
    )
    for name in ("writer", "talker"):
        found = cluster.wait_pod(name, evicted)
        assert "ephemeral" in evicted(found)
        assert has_ended(found)
    cluster.kubectl("delete", "pod", "writer", "talker", "--wait=false")


async def test_images(node: Node, cluster: Cluster, kubelet: Kubelet, tmp_path: Path) -> None:
    """The disk's pressure removes images that nobody uses, but pinned ones."""
    free = os.statvfs(node.root)
    threshold = free.f_bavail * free.f_frsize - 60 * MIB
    kubelet.stop()
    # On a tmpfs the kubelet takes images and the rest for two disks, although they are one.
    disk = {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": str(threshold)}
    settings = {**QUICK, "evictionHard": disk, "port": kubelet.port}
    again = Kubelet(node, cluster.kubeconfig, **settings)
    again.start()
    try:
        eventually("no pressure yet", lambda: _conditions(cluster)["DiskPressure"] == "False")
        await _load_spare(node, tmp_path / "pressure", 100 * MIB)
        assert SPARE in await _images(node)
        await _spare_is_removed(node)
        eventually("the pressure is over", lambda: _conditions(cluster)["DiskPressure"] == "False")
    finally:
        again.stop()
