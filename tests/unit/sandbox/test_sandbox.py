"""The state of a pod is derived from its record and its pause process."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import NotFound
from crio.linux.mount import bind, umount
from crio.linux.pidfd import start_time
from crio.sandbox.network import pod_network
from crio.sandbox.record import load
from crio.sandbox.sandbox import Sandbox
from small_node import SmallNode, make_sandbox


def test_ready_from_complete_to_stopped() -> None:
    assert not make_sandbox(1, complete=False).ready
    assert make_sandbox(1).ready
    assert make_sandbox(1, stopping=True).ready
    assert make_sandbox(1, stopping=True).stopping
    assert not make_sandbox(1, stopped_at=5).ready


def test_a_dead_pause_process_ends_the_pod() -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        item = make_sandbox(1, pause_pid=child.pid, pause_start=start_time(child.pid))
        assert item.ready
        assert item.pid_namespace == f"/proc/{child.pid}/ns/pid"
    finally:
        child.kill()
        child.wait()
    assert not item.ready


def test_a_reused_number_is_not_the_pause_process() -> None:
    me = os.getpid()
    assert not make_sandbox(1, pause_pid=me, pause_start=start_time(me) + 1).ready


def test_without_a_pause_process_there_is_no_namespace() -> None:
    assert make_sandbox(1).pid_namespace == ""


@pytest.mark.root
def test_a_pod_that_lost_a_namespace_is_taken_down(tmp_path: Path) -> None:
    pins = {kind: str(tmp_path / kind) for kind in ("net", "uts")}
    for kind, path in pins.items():
        Path(path).touch()
        bind(f"/proc/self/ns/{kind}", path)
    item = make_sandbox(1, namespaces=pins)
    assert not item.is_taken_down
    umount(pins["uts"])
    assert item.is_taken_down
    umount(pins["net"])
    assert not make_sandbox(1).is_taken_down


def test_a_changed_configuration_is_saved(tmp_path: Path) -> None:
    item = make_sandbox(1, directory=str(tmp_path), fingerprint=b"original")
    config = pb.PodSandboxConfig.FromString(item.record.config)
    config.linux.resources.cpu_shares = 77
    item.replace_config(config)
    assert item.config.linux.resources.cpu_shares == 77
    found = Sandbox(str(tmp_path), load(str(tmp_path)))
    assert found.config.linux.resources.cpu_shares == 77
    assert found.record.fingerprint == b"original"


def test_what_the_network_is_told() -> None:
    item = make_sandbox(1, namespaces={"net": "/run/netns/x"})
    config = pb.PodSandboxConfig.FromString(item.record.config)
    config.port_mappings.add(protocol=pb.UDP, container_port=53, host_port=5353, host_ip="127.0.0.1")
    config.port_mappings.add(container_port=80)
    item.record.config = config.SerializeToString()
    pod = pod_network(item, "/parent")
    assert (pod.id, pod.namespace, pod.name, pod.uid) == ("01" * 32, "default", "pod1", "u1")
    assert (pod.netns_path, pod.cgroup_path, dict(pod.annotations)) == ("/run/netns/x", "/parent", {"note": "kept"})
    (mapping,) = pod.port_mappings
    assert (mapping.protocol, mapping.container_port, mapping.host_port, mapping.host_ip) == (
        "udp",
        53,
        5353,
        "127.0.0.1",
    )


async def test_new_limits_that_come_while_the_pod_is_removed(tmp_path: Path) -> None:
    small = SmallNode(tmp_path)
    item = small.add_sandbox(make_sandbox(1, directory=str(tmp_path / "gone")))
    async with item.lock:
        nothing = pb.LinuxContainerResources()
        update = asyncio.create_task(small.sandboxes.update_resources(item.id, nothing, nothing))
        await asyncio.sleep(0)
        await small.sandboxes._discard(item)
    with pytest.raises(NotFound, match="cannot find pod sandbox"):
        await update
