"""Pods with user namespaces of their own: their root is nobody on the host, and owns what the pod has."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from node import PATIENCE, Node

pytestmark = pytest.mark.root

FIRST, SIZE = 1_000_000, 65536


def in_user_namespace(config: pb.PodSandboxConfig, first: int = FIRST) -> pb.PodSandboxConfig:
    options = config.linux.security_context.namespace_options.userns_options
    options.mode = pb.POD
    options.uids.add(host_id=first, container_id=0, length=SIZE)
    options.gids.add(host_id=first, container_id=0, length=SIZE)
    return config


def volume(source: Path, target: str, *, mapped: bool) -> pb.Mount:
    mount = pb.Mount(host_path=str(source), container_path=target)
    if mapped:
        mount.uidMappings.add(host_id=FIRST, container_id=0, length=SIZE)
        mount.gidMappings.add(host_id=FIRST, container_id=0, length=SIZE)
    return mount


def mounts_below(root: Path) -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if line.split()[4].startswith(f"{root}/")}


async def test_root_of_the_pod_is_nobody_on_the_host(node: Node) -> None:
    before = mounts_below(node.root)
    pod_config = in_user_namespace(node.pod_config(sysctls={"kernel.shm_rmid_forced": "1"}))
    pod = await node.run_pod(pod_config)
    assert (await node.pod_status(pod)).linux.namespaces.options.userns_options.uids[0].host_id == FIRST
    (node.root / "data").mkdir()
    (node.root / "data" / "old").write_text("old")
    (node.root / "plain").write_text("plain")
    config = node.container_config(["sleep", "600"])
    config.mounts.append(volume(node.root / "data", "/data", mapped=True))
    config.mounts.append(volume(node.root / "plain", "/plain", mapped=True))
    config.linux.security_context.capabilities.add_capabilities.extend(["SYS_ADMIN", "NET_ADMIN"])
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)

    script = """
        id -u; cat /proc/self/uid_map; hostname renamed && hostname; cat /proc/sys/kernel/shm_rmid_forced
        stat -c '%n %u:%g' /data/old /plain /etc/resolv.conf /dev/shm /bin/sh
        echo new > /data/new && echo x > /etc/x && echo x >> /etc/resolv.conf && touch /dev/shm/x && echo wrote
        ip link set lo down && echo network
    """
    answer = await node.exec(container, "sh", "-c", script)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.decode().split("\n")
    assert lines[0] == "0"
    assert lines[1].split() == ["0", str(FIRST), str(SIZE)]
    assert lines[2:4] == ["renamed", "1"]
    assert all(line.endswith(" 0:0") for line in lines[4:9]), lines
    assert lines[9:11] == ["wrote", "network"]

    assert (node.root / "data" / "new").stat().st_uid == 0
    pid = int(status_info_pid(await info(node, container)))
    assert f"Uid:\t{FIRST}\t" in Path(f"/proc/{pid}/status").read_text()
    # The monitors' and runtime's files are still only the host's root's.
    own = node.root / "state" / "containers" / container
    assert (own.stat().st_mode & 0o777, own.stat().st_gid) == (0o710, FIRST)
    assert not [mount for mount in mounts_below(node.root) if "/volumes/" in mount]

    await node.remove_pod(pod)
    assert mounts_below(node.root) - before <= {str(node.root / "ns" / "netns")}


async def info(node: Node, container: str) -> str:
    request = pb.ContainerStatusRequest(container_id=container, verbose=True)
    return (await node.call("ContainerStatus", request, pb.ContainerStatusResponse)).info["info"]


def status_info_pid(text: str) -> str:
    return text.split('"pid":')[1].split(",")[0]


async def processes(node: Node, container: str) -> list[str]:
    return (await node.exec(container, "ps", "-o", "args")).stdout.decode().splitlines()


async def test_containers_share_processes(node: Node) -> None:
    pod_config = in_user_namespace(node.pod_config())
    pod_config.linux.security_context.namespace_options.pid = pb.POD
    pod = await node.run_pod(pod_config)
    first = await node.create(pod, node.container_config(["sleep", "600"], name="a"), pod_config)
    await node.start_container(first)
    second = await node.create(pod, node.container_config(["sleep", "601"], name="b"), pod_config)
    await node.start_container(second)
    async with asyncio.timeout(PATIENCE):
        while not {"sleep 600", "sleep 601"} <= {line.strip() for line in await processes(node, second)}:
            await asyncio.sleep(0.05)


async def test_with_the_network_of_the_host(node: Node) -> None:
    pod_config = in_user_namespace(node.host_network(node.pod_config()))
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "600"]), pod_config)
    await node.start_container(container)
    answer = await node.exec(container, "sh", "-c", "cat /proc/self/uid_map; hostname; ip link set lo mtu 65000")
    assert answer.stdout.split()[:4] == [b"0", str(FIRST).encode(), str(SIZE).encode(), os.uname().nodename.encode()]
    assert answer.exit_code != 0


async def test_what_is_mounted_inside_stays_inside(node: Node) -> None:
    """A runtime that clones mounts on the host would mount there too what goes on top of them."""
    pod_config = in_user_namespace(node.host_network(node.pod_config()))
    pod = await node.run_pod(pod_config)
    before = mounts_below(Path("/sys")) | mounts_below(node.root)
    (node.root / "data").mkdir()
    config = node.container_config(["sleep", "600"])
    config.mounts.append(volume(node.root / "data", "/dev/shm/inner", mapped=True))
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    assert (await node.exec(container, "touch", "/dev/shm/inner/x")).exit_code == 0
    assert (node.root / "data" / "x").exists()
    new = (mounts_below(Path("/sys")) | mounts_below(node.root)) - before
    assert not [mount for mount in new if mount.startswith("/sys/") or mount.endswith("/inner")]


@pytest.mark.parametrize("point", ["sandbox.run.after_namespaces", "container.create.after_effects"])
async def test_what_the_daemons_end_cuts_off_goes(node: Node, point: str) -> None:
    (node.root / "data").mkdir()
    before = mounts_below(node.root)
    node.kill()
    await node.close_client()
    await node.start(failpoints=f"{point}=kill")
    pod_config = in_user_namespace(node.pod_config())
    config = node.container_config(["sleep", "600"])
    config.mounts.append(volume(node.root / "data", "/data", mapped=True))
    with pytest.raises((RpcError, OSError)):
        await node.create(await node.run_pod(pod_config), config, pod_config)
    assert node.process is not None
    node.process.wait(60)
    await node.close_client()
    await node.start()
    assert await node.containers() == []
    for pod in await node.pods():
        await node.remove_pod(pod.id)
    assert mounts_below(node.root) - before <= {str(node.root / "ns" / "netns")}
    assert list((node.root / "ns" / "userns").glob("*")) == []


async def test_requests_that_cannot_be(node: Node) -> None:
    longer = in_user_namespace(node.pod_config("longer"))
    longer.linux.security_context.namespace_options.userns_options.gids[0].length = 100
    with pytest.raises(RpcError, match="same length"):
        await node.run_pod(longer)
    shared = in_user_namespace(node.pod_config("shared"))
    shared.linux.security_context.namespace_options.pid = pb.NODE
    with pytest.raises(RpcError, match="PID namespace"):
        await node.run_pod(shared)
    pod_config = in_user_namespace(node.pod_config())
    pod = await node.run_pod(pod_config)
    other = in_user_namespace(node.pod_config(), first=FIRST + SIZE)
    with pytest.raises(RpcError, match="not that of its pod"):
        await node.create(pod, node.container_config(["true"]), other)
    (node.root / "proc").mkdir()
    config = node.container_config(["true"])
    config.mounts.append(volume(Path("/proc/self/net"), "/net", mapped=True))
    with pytest.raises(RpcError, match=r"proc|idmap|mount_setattr"):
        await node.create(pod, config, pod_config)
    assert not [mount for mount in mounts_below(node.root) if "/volumes/" in mount]
