"""A pod that finds its logs in one of its own volumes, where a workload allows it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.mount import is_mount_point
from crio.rpc.status import RpcError
from crio.sandbox.linked_logs import KUBELET_PODS
from node import Node, running

pytestmark = pytest.mark.root

SETTINGS = """
[crio.runtime.workloads.logs]
activation_annotation = "collects-logs"
allowed_annotations = ["link-logs.crio.io"]
"""


@pytest.fixture
async def node(scratch: Path, layout: str) -> AsyncIterator[Node]:
    async with running(Node(scratch / "node", settings=SETTINGS), layout) as made:
        yield made


@pytest.fixture
def volume() -> Iterator[Path]:
    """An emptyDir volume of a pod, where the kubelet would have made it."""
    missing = [path for path in (Path("/var/lib/kubelet"), Path(KUBELET_PODS)) if not path.exists()]
    pod = Path(KUBELET_PODS) / str(uuid.uuid4())
    made = pod / "volumes" / "kubernetes.io~empty-dir" / "logging"
    made.mkdir(parents=True)
    yield made
    assert not is_mount_point(str(made))
    shutil.rmtree(pod)
    for path in reversed(missing):
        if not os.listdir(path):
            path.rmdir()


def pod_config(node: Node, volume: Path, name: str = "logging", *, allowed: bool = True) -> pb.PodSandboxConfig:
    config = node.host_network(node.pod_config())
    config.metadata.uid = volume.parents[2].name
    config.annotations["io.kubernetes.cri-o.LinkLogs"] = name
    if allowed:
        config.annotations["collects-logs"] = ""
    return config


async def test_a_container_reads_what_the_others_say(node: Node, volume: Path) -> None:
    config = pod_config(node, volume)
    pod = await node.run_pod(config)
    speaker = node.container_config(["echo", "hello"], name="speaker")
    speaker.log_path = "speaker/0.log"
    spoken = await node.create(pod, speaker, config)
    await node.start_container(spoken)
    await node.wait_exited(spoken)
    reader = node.container_config(["sleep", "600"], name="reader")
    reader.mounts.add(host_path=str(volume), container_path="/logs")
    reading = await node.create(pod, reader, config)
    await node.start_container(reading)
    assert (await node.status(reading)).mounts[0].readonly

    for path in (f"/logs/{spoken}.log", "/logs/speaker/0.log"):
        assert b"stdout F hello" in (await node.exec(reading, "cat", path)).stdout
    assert (volume / f"{spoken}.log").read_text().endswith("stdout F hello\n")
    forged = await node.exec(reading, "sh", "-c", "echo forged >> /logs/speaker/0.log")
    assert forged.exit_code != 0
    assert "forged" not in (volume / "speaker" / "0.log").read_text()

    await node.remove_container(spoken)
    assert not os.path.lexists(volume / f"{spoken}.log")
    await node.stop_pod(pod)
    assert os.listdir(volume) == []


async def test_a_daemon_that_was_killed_takes_the_mount_away(node: Node, volume: Path) -> None:
    node.kill()
    await node.close_client()
    await node.start(failpoints="sandbox.run.before_complete=kill")
    with pytest.raises((RpcError, OSError)):
        await node.run_pod(pod_config(node, volume))
    assert is_mount_point(str(volume))
    await node.close_client()
    await node.start()
    assert not is_mount_point(str(volume))


async def test_only_where_it_is_allowed_and_only_to_a_volume(node: Node, volume: Path) -> None:
    await node.remove_pod(await node.run_pod(pod_config(node, volume, "../../etc", allowed=False)))
    pod = await node.run_pod(pod_config(node, volume, allowed=False))
    assert not is_mount_point(str(volume))
    await node.remove_pod(pod)
    with pytest.raises(RpcError, match="no name of an emptyDir volume"):
        await node.run_pod(pod_config(node, volume, "../../etc"))
    with pytest.raises(RpcError, match=r"no emptyDir volume at .*/other"):
        await node.run_pod(pod_config(node, volume, "other"))
