"""Pods of a real Kubernetes: from the scheduler to their last trace."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from kubernetes_bed import Cluster, Kubelet, container, eventually, is_ready, pod
from kubernetes_place import NODE_ADDRESS
from node import Node
from registry_server import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVE = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"
ENDLESS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]
WORKED = "kubelet_pod_worker_duration_seconds_count"


def restarts(found: Any, index: int = 0) -> int:
    statuses = found["status"].get("containerStatuses") or []
    return int(statuses[index]["restartCount"]) if len(statuses) > index else 0


def gone(cluster: Cluster, name: str) -> bool:
    return not cluster.kubectl("get", "pod", name, "--ignore-not-found").strip()


async def test_probes_config_maps_and_every_kubectl_verb(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    port = free_port()
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "default"},
            "data": {"color": "blue"},
        },
        pod(
            "web",
            container(
                "web",
                ["sh", "-c", f"echo started; {SERVE}"],
                ports=[{"containerPort": 8080, "hostPort": port}],
                env=[
                    {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                volumeMounts=[{"name": "settings", "mountPath": "/settings"}],
                startupProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
                livenessProbe={"exec": {"command": ["test", "-f", "/www/index.html"]}, "periodSeconds": 1},
            ),
            volumes=[{"name": "settings", "configMap": {"name": "settings"}}],
        ),
    )
    found = cluster.wait_pod("web", is_ready)
    address = found["status"]["podIP"]
    assert urllib.request.urlopen(f"http://{address}:8080/", timeout=60).read() == b"hello\n"
    assert urllib.request.urlopen(f"http://{NODE_ADDRESS}:{port}/", timeout=60).read() == b"hello\n"

    assert cluster.kubectl("logs", "web") == "started\n"
    printed = cluster.kubectl("exec", "web", "--", "sh", "-c", "echo $COLOR $NODE; cat /settings/color")
    assert printed == "blue localhost\nblue"
    assert cluster.kubectl("exec", "-i", "web", "--", "cat", stdin="through and back") == "through and back"

    source = node.root / "copied"
    source.write_bytes(b"x" * 300_000)
    cluster.kubectl("cp", str(source), "web:/copied")
    cluster.kubectl("cp", "web:/copied", f"{source}.back")
    assert Path(f"{source}.back").read_bytes() == source.read_bytes()

    local = free_port()
    forward = subprocess.Popen(
        ["kubectl", f"--kubeconfig={cluster.kubeconfig}", "port-forward", "web", f"{local}:8080"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually("port-forward answers", lambda: fetch(local) == b"hello\n")
    finally:
        forward.terminate()
        forward.wait()

    cluster.kubectl("exec", "web", "--", "rm", "/www/index.html")
    cluster.wait_pod("web", lambda found: restarts(found) == 1 and is_ready(found))
    assert cluster.kubectl("logs", "--previous", "web") == "started\n"

    cluster.kubectl("delete", "pod", "web")
    # The kubelet removes an ended sandbox when it cleans up, not at once.
    assert [each.state for each in await node.pods() if each.metadata.name == "web"] in ([], [pb.SANDBOX_NOTREADY])


def fetch(port: int) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise AssertionError(str(error)) from None


async def test_init_and_sidecar_containers_and_restarts_with_back_off(
    node: Node, cluster: Cluster, kubelet: Kubelet
) -> None:
    share: dict[str, Any] = {"volumeMounts": [{"name": "share", "mountPath": "/share"}]}
    cluster.apply(
        pod(
            "stages",
            container("main", ["sh", "-c", "cat /share/log; echo main; sleep 2; exit 3"], **share),
            initContainers=[
                container("first", ["sh", "-c", "echo first > /share/log"], **share),
                container("sidecar", ENDLESS, restartPolicy="Always", **share),
                container("second", ["sh", "-c", "echo second >> /share/log"], **share),
            ],
            volumes=[{"name": "share", "emptyDir": {}}],
            restartPolicy="OnFailure",
        )
    )
    found = cluster.wait_pod("stages", lambda found: restarts(found) >= 1)
    # The one before goes when there is another.
    said = ("logs", "stages", "-c", "main", "--previous")
    eventually("what was said", lambda: cluster.kubectl(*said) == "first\nsecond\nmain\n")
    last = found["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    cluster.wait_pod(
        "stages",
        lambda found: "CrashLoopBackOff" in json.dumps(found["status"]["containerStatuses"][0]["state"]),
    )
    side = next(each for each in found["status"]["initContainerStatuses"] if each["name"] == "sidecar")
    assert "running" in side["state"]
    assert side["restartCount"] == 0
    cluster.kubectl("delete", "pod", "stages", "--wait=false")
    eventually("the pod is gone", lambda: gone(cluster, "stages"))


async def test_resize_without_a_restart(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    limits = {"cpu": "200m", "memory": "64Mi"}
    cluster.apply(pod("sized", container("main", ENDLESS, resources={"requests": limits, "limits": limits})))
    found = cluster.wait_pod("sized", is_ready)
    more = {"cpu": "400m", "memory": "96Mi"}
    patch = {"spec": {"containers": [{"name": "main", "resources": {"requests": more, "limits": more}}]}}
    cluster.kubectl("patch", "pod", "sized", "--subresource=resize", "--patch", json.dumps(patch))

    def resized(found: Any) -> bool:
        resources = found["status"]["containerStatuses"][0].get("resources") or {}
        return resources.get("limits") == more

    found = cluster.wait_pod("sized", resized)
    assert restarts(found) == 0
    container_id = found["status"]["containerStatuses"][0]["containerID"].removeprefix("cri-o://")
    (group,) = Path("/sys/fs/cgroup/memory").glob(f"kube-{node.tag}/**/crio-{container_id}")
    assert int((group / "memory.limit_in_bytes").read_text()) == 96 << 20
    cluster.kubectl("delete", "pod", "sized", "--grace-period=0", "--force")


async def test_the_daemon_is_restarted_under_load(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    names = [f"load-{number}" for number in range(6)]
    keep = pod("keep", container("main", ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"]))
    cluster.apply(keep)
    before = cluster.wait_pod("keep", is_ready)
    cluster.apply(*(pod(name, container("main", ENDLESS)) for name in names))
    time.sleep(0.5)
    await node.close_client()
    node.kill()
    await node.start()
    for name in names:
        # A StartContainer that was cut off is an attempt for the kubelet, and the next one another.
        assert restarts(cluster.wait_pod(name, is_ready)) <= 1
    after = cluster.get("pod", "keep")
    assert (
        after["status"]["containerStatuses"][0]["containerID"]
        == before["status"]["containerStatuses"][0]["containerID"]
    )
    numbers = [int(line) for line in cluster.kubectl("logs", "keep").splitlines()]
    assert numbers == list(range(len(numbers)))
    cluster.kubectl("delete", "pods", "keep", *names, "--grace-period=1")


async def test_the_kubelet_is_restarted(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply(pod("stays", container("main", ENDLESS)))
    before = cluster.wait_pod("stays", is_ready)
    kubelet.stop()
    kubelet.start()

    def synced() -> bool:
        """Whether this kubelet, which counts from nothing, has compared the pod with what it should be."""
        figures = kubelet.figures("/metrics")
        return any(count for name, count in figures.items() if name.startswith(WORKED))

    eventually("the kubelet has seen to the pod", synced)
    after = cluster.wait_pod("stays", is_ready)
    assert (
        after["status"]["containerStatuses"][0]["containerID"]
        == before["status"]["containerStatuses"][0]["containerID"]
    )
    assert restarts(after) == 0
    cluster.kubectl("delete", "pod", "stays", "--grace-period=1")


async def test_a_pod_is_deleted_gracefully(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    shared = node.root / "goodbye"
    shared.mkdir()
    cluster.apply(
        pod(
            "polite",
            container(
                "main",
                ["sh", "-c", "trap 'echo term >> /out/log; exit' TERM; while :; do sleep 0.1; done"],
                lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /out/log"]}}},
                volumeMounts=[{"name": "out", "mountPath": "/out"}],
            ),
            terminationGracePeriodSeconds=60,
            volumes=[{"name": "out", "hostPath": {"path": str(shared)}}],
        )
    )
    cluster.wait_pod("polite", is_ready)
    begin = time.monotonic()
    cluster.kubectl("delete", "pod", "polite")
    assert time.monotonic() - begin < 60
    assert (shared / "log").read_text() == "hook\nterm\n"


async def test_attach(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply(pod("talk", container("main", ["cat"], stdin=True, stdinOnce=True), restartPolicy="Never"))
    cluster.wait_pod("talk", is_ready)
    assert cluster.kubectl("attach", "-i", "talk", stdin="hello there\n") == "hello there\n"
    cluster.wait_pod("talk", lambda found: found["status"]["phase"] == "Succeeded")
    cluster.kubectl("delete", "pod", "talk", "--grace-period=1")
