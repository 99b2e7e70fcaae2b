"""A handler's other runtime, for images of a certain platform."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.image.platforms import host_platform
from node import Node, running

pytestmark = pytest.mark.root


@pytest.fixture
async def node(scratch: Path, layout: str) -> AsyncIterator[Node]:
    made = Node(scratch / "node")
    other = made.root / "other-crun"
    other.write_text(f'#!/bin/sh\necho "$@" >> {made.root}/calls\nexec {shutil.which("crun")} "$@"\n')
    other.chmod(0o755)
    platform = f"linux/{host_platform().architecture}"
    (made.root / "conf.d" / "platforms.conf").write_text(
        f"""
[crio.runtime.runtimes.plain]
runtime_path = "{shutil.which("crun")}"
runtime_root = "{made.root}/run-plain"
monitor_cgroup = "pod"
platform_runtime_paths = {{ "wasi/wasm32" = "/no/such/program" }}
[crio.runtime.runtimes.several]
runtime_path = "/bin/false"
runtime_root = "{made.root}/run-several"
monitor_cgroup = "pod"
platform_runtime_paths = {{ "{platform}" = "{other}" }}
"""
    )
    async with running(made, layout):
        yield made


async def test_the_images_platform_decides(node: Node) -> None:
    found = {}
    for handler in ("plain", "several"):
        config = node.host_network(node.pod_config(handler))
        pod = await node.run_pod(config, handler)
        container = await node.create(pod, node.container_config(["sleep", "600"]), config)
        await node.start_container(container)
        assert (await node.exec(container, "true")).exit_code == 0
        spec = json.loads((node.root / "state" / "containers" / container / "config.json").read_text())
        found[handler] = spec["annotations"].get("io.kubernetes.cri-o.PlatformRuntimePath")
        if handler == "several":
            node.kill()
            await node.close_client()
            await node.start()
        await node.stop_container(container)
        await node.remove_pod(pod)
    assert found == {"plain": None, "several": f"{node.root}/other-crun"}
    verbs = (node.root / "calls").read_text()
    for verb in (" create ", " start ", " exec ", " kill ", " delete "):
        assert verb in verbs
