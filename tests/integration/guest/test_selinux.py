"""SELinux with a distribution's policy: labels of processes and files, pods that cannot read each other's volumes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from node import Node

ENFORCE = Path("/sys/fs/selinux/enforce")

pytestmark = pytest.mark.skipif(not ENFORCE.exists(), reason="needs SELinux: ./dev vm test --selinux")

PROCESS = re.compile(r"system_u:system_r:container_t:(s0:c\d+,c\d+)")
OTHERS = "system_u:object_r:container_file_t:s0:c7,c77"
SPC = pb.SELinuxOption(type="spc_t")


@pytest.fixture(autouse=True)
def _enforcing() -> Iterator[None]:
    before = ENFORCE.read_text()
    ENFORCE.write_text("1")
    yield
    ENFORCE.write_text(before)


@pytest.fixture
def volume(scratch: Path) -> Path:
    """A directory of the node with files in two levels."""
    top = scratch / "volume"
    (top / "deep").mkdir(parents=True)
    (top / "file").write_text("secret\n")
    (top / "deep" / "file").write_text("deep secret\n")
    (top / "link").symlink_to("/etc/hostname")
    return top


def file_label(path: Path | str) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).rstrip(b"\0").decode()


def labels_of(top: Path) -> set[str]:
    return {file_label(path) for path in (top, *top.rglob("*"))}


async def _process_label(node: Node, container: str) -> str:
    """As another process of the container sees its first one."""
    found = await node.exec(container, "cat", "/proc/1/attr/current")
    assert found.exit_code == 0, found.stderr
    return found.stdout.decode().strip("\0\n")


def _level(label: str) -> str:
    """The level of a confined container's process."""
    match = PROCESS.fullmatch(label)
    assert match, label
    return match[1]


def _first_process(node: Node, container: str) -> int:
    return int((node.root / "state" / "containers" / container / "pid").read_text())


async def _start(
    node: Node,
    pod: str,
    pod_config: pb.PodSandboxConfig,
    *mounts: pb.Mount,
    name: str = "ctr",
    option: pb.SELinuxOption | None = None,
) -> str:
    config = node.container_config(["sleep", "1000"], name=name)
    config.mounts.extend(mounts)
    if option is not None:
        config.linux.security_context.selinux_options.CopyFrom(option)
    elif pod_config.linux.security_context.HasField("selinux_options"):
        # The kubelet repeats the pod's options with each of its containers.
        config.linux.security_context.selinux_options.CopyFrom(pod_config.linux.security_context.selinux_options)
    config.linux.security_context.privileged = pod_config.linux.security_context.privileged
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    return container


def _bind(path: Path, *, relabel: bool) -> pb.Mount:
    return pb.Mount(container_path="/volume", host_path=str(path), selinux_relabel=relabel)


async def test_processes_and_files_have_the_pods_own_pair(node: Node) -> None:
    levels = []
    for name in ("one", "two"):
        pod_config = node.pod_config(name)
        pod = await node.run_pod(pod_config)
        container = await _start(node, pod, pod_config)
        label = await _process_label(node, container)
        own = await node.exec(container, "cat", "/proc/self/attr/current")
        assert own.stdout.decode().strip("\0\n") == label
        files = f"system_u:object_r:container_file_t:{_level(label)}"
        root = f"/proc/{_first_process(node, container)}/root"
        for path in ("/.", "/bin", "/bin/busybox", "/dev", "/dev/shm", "/etc/hostname", "/etc/resolv.conf"):
            assert file_label(root + path) == files, path
        levels.append(_level(label))
    assert levels[0] != levels[1]


async def test_the_pair_outlives_the_daemon(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    before = await _process_label(node, await _start(node, pod, pod_config))
    node.kill()
    await node.start()
    after = await _process_label(node, await _start(node, pod, pod_config, name="later"))
    assert after == before


async def test_a_volume_is_relabelled_where_it_is_asked_for_and_needed(node: Node, volume: Path) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    before = labels_of(volume)
    await _start(node, pod, pod_config, _bind(volume, relabel=False), name="as-it-is")
    assert labels_of(volume) == before

    container = await _start(node, pod, pod_config, _bind(volume, relabel=True), name="first")
    wanted = f"system_u:object_r:container_file_t:{_level(await _process_label(node, container))}"
    assert labels_of(volume) == {wanted}
    assert (await node.exec(container, "cat", "/volume/deep/file")).stdout == b"deep secret\n"
    assert (await node.exec(container, "sh", "-c", "echo new >/volume/new")).exit_code == 0
    assert file_label(volume / "new") == wanted
    # The label is that of the link, not of what it leads to.
    assert file_label("/etc/hostname") != wanted

    os.setxattr(volume / "deep" / "file", "security.selinux", OTHERS.encode())
    changed = (volume / "file").lstat().st_ctime_ns
    await _start(node, pod, pod_config, _bind(volume, relabel=True), name="second")
    assert labels_of(volume) == {wanted}
    assert (volume / "file").lstat().st_ctime_ns == changed


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_pod_may_trust_the_label_of_the_top(node: Node, volume: Path) -> None:
    pod_config = node.pod_config()
    pod_config.annotations["io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel"] = "true"
    (node.root / "conf.d" / "allow.conf").write_text(
        "[crio.runtime.runtimes.crun]\n"
        f'runtime_root = "{node.root}/run-crun"\nmonitor_cgroup = "pod"\n'
        'allowed_annotations = ["io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel"]\n'
    )
    await node.stop()
    await node.start()
    pod = await node.run_pod(pod_config)
    await _start(node, pod, pod_config, _bind(volume, relabel=True), name="first")
    os.setxattr(volume / "file", "security.selinux", OTHERS.encode())
    await _start(node, pod, pod_config, _bind(volume, relabel=True), name="second")
    assert file_label(volume / "file") == OTHERS


async def test_a_pod_cannot_read_what_is_anothers(node: Node, volume: Path) -> None:
    first_config, second_config = node.pod_config("first"), node.pod_config("second")
    first = await _start(node, await node.run_pod(first_config), first_config, _bind(volume, relabel=True))
    second = await _start(node, await node.run_pod(second_config), second_config, _bind(volume, relabel=False))
    assert (await node.exec(first, "cat", "/volume/file")).stdout == b"secret\n"
    for command in ("cat /volume/file", "echo x >>/volume/file", "ls /volume", "touch /volume/x", "rm /volume/file"):
        refused = await node.exec(second, "sh", "-c", command)
        assert refused.exit_code != 0, command
        assert b"ermission denied" in refused.stderr, command
    ENFORCE.write_text("0")
    assert (await node.exec(second, "cat", "/volume/file")).stdout == b"secret\n"


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_files_of_the_machine_are_out_of_reach(node: Node, scratch: Path) -> None:
    """What a container is given without relabelling keeps the host's label, which its type may not read."""
    (scratch / "shadow").write_text("root::\n")
    os.setxattr(scratch / "shadow", "security.selinux", b"system_u:object_r:shadow_t:s0")
    os.setxattr(scratch, "security.selinux", b"system_u:object_r:container_file_t:s0")
    pod_config = node.pod_config()
    container = await _start(node, await node.run_pod(pod_config), pod_config, _bind(scratch, relabel=False))
    refused = await node.exec(container, "cat", "/volume/shadow")
    assert b"ermission denied" in refused.stderr


async def test_a_privileged_container_is_not_confined(node: Node, volume: Path) -> None:
    other = node.pod_config("other")
    await _start(node, await node.run_pod(other), other, _bind(volume, relabel=True))
    pod_config = node.pod_config()
    pod_config.linux.security_context.privileged = True
    container = await _start(node, await node.run_pod(pod_config), pod_config, _bind(volume, relabel=False))
    assert ":container_t:" not in await _process_label(node, container)
    assert (await node.exec(container, "cat", "/volume/file")).stdout == b"secret\n"


async def test_a_super_privileged_type_reads_all_and_changes_no_label(node: Node, volume: Path) -> None:
    other = node.pod_config("other")
    await _start(node, await node.run_pod(other), other, _bind(volume, relabel=True))
    before = labels_of(volume)
    pod_config = node.pod_config()
    pod_config.linux.security_context.selinux_options.CopyFrom(SPC)
    container = await _start(node, await node.run_pod(pod_config), pod_config, _bind(volume, relabel=True))
    assert (await _process_label(node, container)).startswith("system_u:system_r:spc_t:s0:c")
    assert labels_of(volume) == before
    assert (await node.exec(container, "cat", "/volume/file")).stdout == b"secret\n"


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_options_of_the_pod_and_of_a_container(node: Node, volume: Path) -> None:
    pod_config = node.pod_config()
    pod_config.linux.security_context.selinux_options.level = "s0:c123,c456"
    pod = await node.run_pod(pod_config)
    container = await _start(node, pod, pod_config, _bind(volume, relabel=True))
    assert await _process_label(node, container) == "system_u:system_r:container_t:s0:c123,c456"
    assert labels_of(volume) == {"system_u:object_r:container_file_t:s0:c123,c456"}
    option = pb.SELinuxOption(level="s0:c1,c2")
    other = await _start(node, pod, pod_config, name="other", option=option)
    assert await _process_label(node, other) == "system_u:system_r:container_t:s0:c1,c2"
    assert file_label(f"/proc/{_first_process(node, other)}/root/.") == "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.mark.parametrize("node", ["crun"], indirect=True)
@pytest.mark.parametrize(
    "option",
    [
        pb.SELinuxOption(level="s0:c1,c2 ,context=x"),
        pb.SELinuxOption(type="container_t:s0"),
        pb.SELinuxOption(user='system_u"'),
    ],
    ids=["level", "type", "user"],
)
async def test_options_that_are_no_label(node: Node, option: pb.SELinuxOption) -> None:
    pod_config = node.pod_config()
    pod_config.linux.security_context.selinux_options.CopyFrom(option)
    with pytest.raises(RpcError, match="SELinux") as caught:
        await node.run_pod(pod_config)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert await node.pods() == []


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_type_that_the_policy_does_not_know(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    option = pb.SELinuxOption(type="no_such_t")
    with pytest.raises(RpcError, match=r"no_such_t.*policy does not have it") as caught:
        await _start(node, pod, pod_config, option=option)
    assert caught.value.code == Code.INVALID_ARGUMENT
    pod_config = node.pod_config("other")
    pod_config.linux.security_context.selinux_options.CopyFrom(option)
    with pytest.raises(RpcError, match="policy does not have it"):
        await node.run_pod(pod_config)


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_on_the_hosts_network(node: Node) -> None:
    pod_config = node.host_network(node.pod_config("open"))
    container = await _start(node, await node.run_pod(pod_config), pod_config)
    assert ":container_t:" not in await _process_label(node, container)
    await node.stop()
    (node.root / "conf.d" / "network.conf").write_text("[crio.runtime]\nhostnetwork_disable_selinux = false\n")
    await node.start()
    pod_config = node.host_network(node.pod_config("confined"))
    container = await _start(node, await node.run_pod(pod_config), pod_config)
    assert _level(await _process_label(node, container))


@pytest.mark.parametrize("node", ["crun"], indirect=True)
@pytest.mark.parametrize("path", ["/usr", "/etc", "/var/lib", "/"])
async def test_directories_of_the_machine_are_not_relabelled(node: Node, path: str) -> None:
    before = file_label(path)
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    with pytest.raises(RpcError, match="belongs to the host") as caught:
        await _start(node, pod, pod_config, _bind(Path(path), relabel=True))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert file_label(path) == before
