"""A kubelet that takes events and figures from the CRI, rotates logs, and gives CPUs away; many pods at once."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kubernetes_bed import Cluster, Kubelet, container, eventually, is_ready, pod
from node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]
BURST = 30
LINES = 2500


@pytest.fixture(scope="module")
def kubelet_settings() -> dict[str, object]:
    more: dict[str, object] = {}
    if len(os.sched_getaffinity(0)) > 1:
        more = {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}
    return {
        "featureGates": {"EventedPLEG": True, "PodAndContainerStatsFromCRI": True},
        "containerLogMaxSize": "20Ki",
        "containerLogMaxFiles": 4,
        "containerLogMonitorInterval": "3s",
        **more,
    }


async def test_thirty_pods_at_once_and_a_daemon_that_is_stopped_and_started(
    node: Node, cluster: Cluster, kubelet: Kubelet
) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 2}
    pods = [pod(f"burst-{number}", container("main", ENDLESS, readinessProbe=probe)) for number in range(BURST)]
    for each in pods:
        each["metadata"]["labels"] = {"burst": "yes"}
    cluster.apply(*pods)
    ready = ("wait", "--for=condition=Ready", "pods", "-l", "burst=yes")
    cluster.kubectl(*ready, "--timeout=150s")
    before = _containers(cluster)
    assert len(before) == BURST
    figures = kubelet.figures("/metrics")
    assert figures["kubelet_evented_pleg_connection_success_count"] >= 1
    assert figures["kubelet_evented_pleg_connection_latency_seconds_count"] >= 2 * BURST

    assert await node.stop() == 0
    await node.start()
    cluster.kubectl(*ready, "--timeout=150s")
    assert _containers(cluster) == before

    cluster.kubectl("delete", "pods", "-l", "burst=yes", "--timeout=150s")
    await node.close_client()
    left = [each for each in await node.pods() if each.metadata.name.startswith("burst") and each.state == 0]
    assert left == []
    assert node.leases() == []


def _containers(cluster: Cluster) -> dict[str, tuple[str, int]]:
    listed = cluster.kubectl(
        "get",
        "pods",
        "-l",
        "burst=yes",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} "
        '{.status.containerStatuses[0].restartCount}{"\\n"}{end}',
    )
    return {name: (container_id, int(count)) for name, container_id, count in map(str.split, listed.splitlines())}


async def test_figures_for_kubectl_top_come_from_the_cri(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply(
        pod("counted", container("main", ["sh", "-c", "head -c 1000000 /dev/urandom > /file; exec sleep 900"]))
    )
    cluster.wait_pod("counted", is_ready)

    def counted() -> Any:
        (found,) = [each for each in kubelet.ask("/stats/summary")["pods"] if each["podRef"]["name"] == "counted"]
        return found if found["containers"] and found["containers"][0]["rootfs"]["usedBytes"] >= 1_000_000 else None

    found = eventually("the summary has the pod", _lookup(counted))
    (main,) = found["containers"]
    assert main["cpu"]["usageCoreNanoSeconds"] > 0
    assert main["memory"]["workingSetBytes"] > 0
    assert main["logs"]["inodesUsed"] == 1
    assert found["network"]["name"] == "eth0"
    assert found["network"]["rxBytes"] > 0
    assert found["process_stats"]["process_count"] >= 1
    # metrics-server reads these, and refuses a pod without one of them.
    figures = kubelet.figures("/metrics/resource")
    labels = '{container="main",namespace="default",pod="counted"}'
    for name in (
        f"container_cpu_usage_seconds_total{labels}",
        f"container_memory_working_set_bytes{labels}",
        f"container_start_time_seconds{labels}",
        'pod_cpu_usage_seconds_total{namespace="default",pod="counted"}',
        'pod_memory_working_set_bytes{namespace="default",pod="counted"}',
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
    ):
        assert figures[name] > 0, name
    assert figures["resource_scrape_error"] == 0
    # With the feature gate the kubelet passes the daemon's own metrics on.
    of_daemon = [name for name in kubelet.figures("/metrics/cadvisor") if 'pod="counted"' in name]
    assert any(name.startswith("container_network_receive_bytes_total{") for name in of_daemon)
    assert any(name.startswith("container_memory_working_set_bytes{") for name in of_daemon)
    cluster.kubectl("delete", "pod", "counted", "--wait=false")


def _lookup(check: Any) -> Any:
    """`check`, with errors of what is not there yet as `eventually` wants them."""

    def look() -> Any:
        try:
            return check()
        except (ValueError, OSError, EOFError) as error:
            raise LookupError(str(error)) from None

    return look


async def test_logs_are_rotated_and_lose_nothing(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    script = f"i=0; while test $i -lt {LINES}; do i=$((i+1)); echo $i; usleep 4000; done; exec sleep 900"
    cluster.apply(pod("chatty", container("main", ["sh", "-c", script])))
    cluster.wait_pod("chatty", is_ready)

    def complete() -> list[int] | None:
        (directory,) = (node.root / "podlogs").glob("default_chatty_*/main")
        numbers: list[int] = []
        files = sorted(path for path in directory.iterdir() if path.name != "0.log")
        for path in [*files, directory / "0.log"]:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            numbers += [int(line.split(" ")[3]) for line in text.splitlines()]
        # A rotation may come between.
        is_whole = {*files, directory / "0.log"} == set(directory.iterdir())
        return numbers if is_whole and numbers and numbers[-1] == LINES and len(files) >= 2 else None

    numbers = eventually("the log is complete", _lookup(complete))
    assert numbers == list(range(numbers[0], LINES + 1))
    assert cluster.kubectl("logs", "chatty", "--tail=1") in ("", f"{LINES}\n")
    cluster.kubectl("delete", "pod", "chatty", "--wait=false")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
async def test_a_static_cpu_manager(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    """A guaranteed container with whole CPUs has them alone: the others are moved away while they run, and back."""
    show = ["sh", "-c", "while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.5; done"]
    limits = {"cpu": "1", "memory": "30Mi"}
    cluster.apply(pod("free", container("main", show)))
    cluster.wait_pod("free", is_ready)
    cluster.apply(pod("pinned", container("main", show, resources={"requests": limits, "limits": limits})))
    found = cluster.wait_pod("pinned", is_ready)
    own = _cpus(cluster, "pinned")
    assert len(own) == 1
    eventually("the others leave", lambda: own.isdisjoint(_cpus(cluster, "free")))
    # Its own CPUs have no quota.
    uid, container_id = found["metadata"]["uid"], found["status"]["containerStatuses"][0]["containerID"]
    group = f"kube-{node.tag}/kubepods/pod{uid}/crio-{container_id.removeprefix('cri-o://')}"
    assert Path(f"/sys/fs/cgroup/cpu/{group}/cpu.cfs_quota_us").read_text() == "-1\n"
    cluster.kubectl("delete", "pod", "pinned")
    eventually("the others may use it again", lambda: own <= _cpus(cluster, "free"))
    cluster.kubectl("delete", "pod", "free", "--wait=false")


def _cpus(cluster: Cluster, name: str) -> set[int]:
    """On which the pod says that it may run."""
    text = cluster.kubectl("logs", name, "--tail=1").split(":")[1].strip()
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {number for first, last in ranges for number in range(int(first), int(last or first) + 1)}
