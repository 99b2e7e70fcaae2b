"""A kubelet without a control plane: static pods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubernetes_bed import Kubelet, container, eventually, pod
from node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_standalone_static_pod(node: Node) -> None:
    """It is started, probed, counted by cAdvisor (by HTTP on the daemon's socket), and stopped with its manifest."""
    kubelet = Kubelet(node)
    manifest = kubelet.manifests / "web.json"
    serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"
    manifest.write_text(
        json.dumps(
            pod(
                "web",
                container(
                    "web",
                    ["sh", "-c", serve],
                    readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
                    livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
                ),
            )
        )
    )
    kubelet.start()
    try:

        def ready() -> Any:
            for each in kubelet.ask("/pods")["items"] or ():
                statuses = each["status"].get("containerStatuses") or [{}]
                if statuses[0].get("ready"):
                    return each
            return None

        found = eventually("the static pod is ready", ready)
        assert found["status"]["containerStatuses"][0]["containerID"].startswith("cri-o://")
        assert found["status"]["podIP"].startswith("10.213.")

        def counted() -> Any:
            pods = kubelet.ask("/stats/summary").get("pods") or []
            return pods and pods[0].get("network") and pods[0]["containers"] and pods[0]

        figures = eventually("cAdvisor has the pod's figures", counted)
        assert figures["containers"][0]["memory"]["workingSetBytes"] > 0
        assert figures["containers"][0]["cpu"]["usageCoreNanoSeconds"] > 0
        assert figures["network"]["name"] == "eth0"
        # What metrics-server reads for `kubectl top`; a static pod's name ends with the node's.
        resources = kubelet.figures("/metrics/resource")
        labels = '{container="web",namespace="default",pod="web-localhost"}'
        for name in ("cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds"):
            assert resources[f"container_{name}{labels}"] > 0
        assert resources["resource_scrape_error"] == 0

        manifest.unlink()
        eventually("the pod is stopped", lambda: not kubelet.ask("/pods")["items"])
    finally:
        kubelet.stop()
        await node.remove_all_pods()
        kubelet.clean()
