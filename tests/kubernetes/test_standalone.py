"""A kubelet without a control plane: static pods."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any

import pytest

from kubernetes_bed import Kubelet, container, eventually, pod
from node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ask(kubelet: Kubelet, path: str) -> Any:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{kubelet.port}{path}", context=context, timeout=10) as answer:
            body = answer.read().decode()
    except OSError as error:
        raise AssertionError(f"the kubelet does not answer: {error}\n{kubelet.log_tail()}") from None
    return json.loads(body) if body.startswith(("{", "[")) else body


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
            for each in ask(kubelet, "/pods")["items"] or ():
                statuses = each["status"].get("containerStatuses") or [{}]
                if statuses[0].get("ready"):
                    return each
            return None

        found = eventually("the static pod is ready", ready, timeout=60)
        assert found["status"]["containerStatuses"][0]["containerID"].startswith("cri-o://")
        assert found["status"]["podIP"].startswith("10.213.")

        def counted() -> Any:
            pods = ask(kubelet, "/stats/summary").get("pods") or []
            return pods and pods[0].get("network") and pods[0]["containers"] and pods[0]

        figures = eventually("cAdvisor has the pod's figures", counted, timeout=60)
        assert figures["containers"][0]["memory"]["workingSetBytes"] > 0
        assert figures["containers"][0]["cpu"]["usageCoreNanoSeconds"] > 0
        assert figures["network"]["name"] == "eth0"

        manifest.unlink()
        eventually("the pod is stopped", lambda: not ask(kubelet, "/pods")["items"], timeout=60)
    finally:
        kubelet.stop()
        await node.remove_all_pods()
        kubelet.clean()
