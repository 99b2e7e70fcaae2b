"""Holes that containerd had, one test per line of SPEC section 10.2, in its order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.cli.crioctl.streams.pipe import Tls
from crio.cli.crioctl.streams.websocket import WebSocketChannels
from crio.linux.cgroup import detect
from cve.layers import accounts, busybox, entry, hardlink, symlink, tar
from cve.registry import MANIFEST, Registry, digest_of
from cve.target import Target
from cve.test_crio import MIB, SECRET, accounts_layer, capability_sets, checkpoint_archive


async def test_cve_2020_15157_credentials_for_a_foreign_layer(target: Target) -> None:
    attacker = Registry()
    attacker.wants_login = True
    target.registry.wants_login = True
    try:
        layer = tar([entry("x", b"x")])

        def foreign(manifest: dict[str, Any]) -> None:
            descriptor = manifest["layers"][0]
            descriptor["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            descriptor["urls"] = [f"http://{attacker.host}/v2/stolen/blobs/{descriptor['digest']}"]
            target.registry.serve(f"/v2/foreign/blobs/{descriptor['digest']}", "", b"")

        reference = target.registry.publish("foreign", [layer], change=foreign)
        await target.refuses(reference, username="kubelet", password="open sesame")
        assert [login for _, _, login in attacker.requests if login] == []
    finally:
        target.registry.wants_login = False
        attacker.close()


async def test_cve_2020_15257_abstract_sockets(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    try:
        inside = (await target.exec(container, "cat", "/proc/net/unix")).stdout.decode()
        inodes = {line.split()[6] for line in inside.splitlines()[1:] if line.split()[-1].startswith("@")}
        monitor = _parent(target.process_of(container))
        for pid in {target.pid, monitor} - {0, 1}:
            assert inodes.isdisjoint(_socket_inodes(pid))
        mode = os.stat(target.shared.endpoint.removeprefix("unix://")).st_mode
        assert not mode & (stat.S_IWOTH | stat.S_IROTH)
    finally:
        await target.remove(container)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _socket_inodes(pid: int) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            if link.startswith("socket:["):
                found.add(link[8:-1])
    return found


async def test_cve_2021_21334_environment_of_another_container(target: Target) -> None:
    async def environment(number: int) -> str:
        def own(config: pb.ContainerConfig) -> None:
            config.envs.add(key=f"SECRET_{number}", value=b"x")

        return (await target.run("env", change=own)).output

    outputs = await asyncio.gather(*(environment(number) for number in range(8)))
    for number, output in enumerate(outputs):
        secrets = [line for line in output.splitlines() if line.startswith("SECRET_")]
        assert secrets == [f"SECRET_{number}=x"]


async def _unpacked(target: Target, *layers: bytes) -> str:
    """Have the daemon unpack layers; the reference of an image with busybox over them, "" if it refuses."""
    reference = target.registry.publish(
        f"evil-{hashlib.sha256(b''.join(layers)).hexdigest()[:8]}", [*layers, busybox()]
    )
    return "" if await target.refuses(reference) else reference


async def test_cve_2021_32760_modes_of_files_outside(target: Target, canary: Path) -> None:
    for layer in (
        tar([symlink("link", f"{canary}/secret"), hardlink("hard", "link"), entry("hard", b"", mode=0o777)]),
        tar([symlink("d", str(canary)), entry("d", mode=0o777), entry("d/secret", b"x", mode=0o777)]),
        tar([symlink("link", f"{canary}/secret"), entry("other", b"", linkname="link", type=b"1", mode=0o4777)]),
    ):
        await _unpacked(target, layer)


async def test_cve_2021_41103_directories_of_bundles(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    try:
        mounts = Path(f"/proc/{target.pid}/mountinfo").read_text().splitlines()
        roots = [line.split()[4] for line in mounts if " - overlay " in line or " - fuse" in line]
        assert roots, "the daemon mounts no root file system where it can be seen"
        for root in roots:
            assert not _open_to_all(root), f"everybody can reach {root}"
    finally:
        await target.remove(container)


def _open_to_all(path: str) -> bool:
    """Whether a user without any right can reach it."""
    return all(os.stat(parent).st_mode & stat.S_IXOTH for parent in (path, *map(str, Path(path).parents)))


async def test_cve_2021_41190_manifest_and_index_in_one(target: Target) -> None:
    reference = target.registry.publish("honest", [busybox()])
    _, honest = target.registry._documents["/v2/honest/manifests/latest"]
    assert reference
    document = json.loads(honest)
    index = [{"mediaType": MANIFEST, "digest": digest_of(honest), "size": len(honest)}]
    for kind in (MANIFEST, "application/vnd.oci.image.index.v1+json"):
        both = {**document, "manifests": index}
        del both["mediaType"]
        ambiguous = target.registry.publish_manifest("both", json.dumps(both).encode(), kind)
        assert await target.refuses(ambiguous)
    wrong = {**document, "mediaType": "application/vnd.oci.image.index.v1+json"}
    assert await target.refuses(target.registry.publish_manifest("wrong", json.dumps(wrong).encode(), MANIFEST))


async def test_cve_2021_43816_relabelling_of_host_files(target: Target, canary: Path) -> None:
    def attack(config: pb.ContainerConfig) -> None:
        mount = config.mounts.add(container_path="/etc/hosts", host_path=str(canary / "secret"), readonly=True)
        mount.selinux_relabel = not Path("/sys/fs/selinux/enforce").exists()

    # Who mounts it may read it; what must not be is a change of its label, which `canary` sees.
    outcome = await target.run("cat /etc/hosts", change=attack)
    assert SECRET in outcome.output
    before = os.listxattr("/etc/hosts")
    hosts = Path("/etc/hosts").stat()
    await target.run("true", change=lambda config: config.mounts.add(container_path="/x", host_path="/etc/hosts"))
    assert (os.listxattr("/etc/hosts"), Path("/etc/hosts").stat().st_mode) == (before, hosts.st_mode)


async def test_cve_2022_23648_volume_of_an_image(target: Target, canary: Path) -> None:
    for volume in (f"/../../../../../../../../..{canary}", f"/link{canary}", "/link"):
        layer = tar([symlink("link", "/"), symlink("tmp/out", str(canary))])
        image = await target.image(layer, run={"Volumes": {volume: {}}})
        outcome = await target.run(
            f"cat {canary}/secret /link/secret /secret; find / -name secret -exec cat {{}} +", image
        )
        assert SECRET not in outcome.output


async def _exec_url(target: Target, container: str, *command: str, tty: bool) -> str:
    request = pb.ExecRequest(container_id=container, cmd=command, tty=tty, stdin=True, stdout=True, stderr=not tty)
    return (await target.call("Exec", request, pb.ExecResponse)).url


async def test_cve_2022_23471_resize_of_what_does_not_start(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))

    async def one() -> None:
        channels = await WebSocketChannels.open(await _exec_url(target, container, "/no/such", tty=True), Tls())
        with contextlib.suppress(CrioError):
            for size in range(5):
                await channels.send(4, json.dumps({"Width": 80 + size, "Height": 24}).encode())
            async with asyncio.timeout(60):
                async for _ in channels.received():
                    pass
        await channels.close()

    await one()
    files, threads = target.open_files(), target.threads()
    for _ in range(4):
        await asyncio.gather(*(one() for _ in range(5)))
    assert await target.wait_for(lambda: target.open_files() <= files + 4), "files are left open"
    assert target.threads() <= threads + 8
    await target.remove(container)


async def test_cve_2022_24769_inheritable_capabilities_of_exec(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    output = (await target.exec(container, "cat", "/proc/self/status")).stdout.decode()
    await target.remove(container)
    assert capability_sets(output)["CapInh"] == 0


async def test_cve_2022_24778_encrypted_layer_that_is_there_already(target: Target) -> None:
    await target.busybox()

    def encrypt(manifest: dict[str, Any]) -> None:
        # The layers' content is in the store, unpacked; their digests and keys are not ours.
        for layer in manifest["layers"]:
            layer["mediaType"] += "+encrypted"
            layer["annotations"] = {"org.opencontainers.image.enc.keys.jwe": "e30="}

    reference = target.registry.publish("stolen", [busybox(), accounts()], change=encrypt)
    assert await target.refuses(reference)
    outcome = await target.run("true", reference)
    assert outcome.refused


async def test_cve_2022_31030_memory_of_parallel_execs(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    before = target.memory()

    async def one() -> int:
        try:
            return len((await target.exec(container, "head", "-c", str(32 * MIB), "/dev/zero")).stdout)
        except CrioError:
            return 0

    sizes = await asyncio.gather(*(one() for _ in range(4)))
    assert max(sizes) <= 16 * MIB
    assert target.memory() - before < 256 * MIB
    await target.remove(container)


async def test_cve_2023_25153_huge_documents(target: Target) -> None:
    before = target.memory()
    huge = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"x": "y" * (40 * MIB)}}).encode()
    assert await target.refuses(target.registry.publish_manifest("huge", huge))
    deep = b'{"schemaVersion":2,"config":' + b"[" * MIB + b"]" * MIB + b"}"
    assert await target.refuses(target.registry.publish_manifest("deep", deep))
    assert target.memory() - before < 64 * MIB


async def test_cve_2023_25173_supplementary_groups(target: Target) -> None:
    layer = tar([entry("private", mode=0o705, gid=50), entry("private/file", b"x", mode=0o644, gid=50)])
    image = await target.image(accounts_layer(), layer, run={"User": "web"})
    outcome = await target.run("cat /private/file", image)
    assert outcome.exit_code != 0, "the group staff is shut out of the directory"

    def groups(config: pb.ContainerConfig) -> None:
        config.linux.security_context.supplemental_groups.append(60)

    outcome = await target.run("grep Groups: /proc/self/status", image, change=groups)
    assert {"50", "60", "998"} <= set(outcome.output.split())


async def test_ghsa_7ww5_4wqc_m92c_powercap(target: Target) -> None:
    config = target.container(["sleep", "1000"], await target.busybox())
    # What a kubelet before 1.31 asks for.
    config.linux.security_context.masked_paths.append("/proc/kcore")
    container = await target.started(config)
    try:
        shown = (await target.exec(container, "ls", "-A", "/sys/devices/virtual/powercap")).stdout.decode()
        assert shown.split() == []
        linux: Any = (await target.specification(container)).get("linux")
        if linux:
            assert "/sys/devices/virtual/powercap" in linux["maskedPaths"]
    finally:
        await target.remove(container)


async def test_cve_2024_25621_directories_of_the_daemon(target: Target) -> None:
    config = target.pod_config(network=True)
    pod = await target.run_pod(config)
    try:
        mounts = [line.split() for line in Path(f"/proc/{target.pid}/mountinfo").read_text().splitlines()]
        private = [fields[4] for fields in mounts if pod in fields[4] and fields[4].endswith("/shm")]
        assert private, "the pod's /dev/shm is not where it can be seen"
        for path in private:
            assert not _open_to_all(os.path.dirname(path)), f"everybody can reach {path}"
    finally:
        await target.remove_pod(pod)


@pytest.mark.parametrize("user", ["4294967296", "2147483648", "4294967295:0", "-1", "0x0:0", "99999999999999999999"])
async def test_cve_2024_40635_number_of_a_user(target: Target, user: str) -> None:
    image = await target.image(accounts(), run={"User": user})
    outcome = await target.run("id -u", image)
    assert outcome.refused or outcome.output.strip() not in ("", "0")


async def test_cve_2025_47290_exchange_while_unpacking(target: Target, canary: Path) -> None:
    for layers in (
        [tar([entry("a"), entry("a/b"), symlink("a", str(canary)), entry("a/made", b"x")])],
        [tar([entry("a"), entry("a/b", b"x")]), tar([symlink("a", str(canary))]), tar([entry("a/secret", b"x")])],
        [tar([symlink("a", str(canary)), entry("a/.wh.secret", b""), entry("a/.wh..wh..opq", b"")])],
        [tar([symlink("a", ".."), symlink("a/b", str(canary)), entry("a/b/made", b"x")])],
    ):
        await _unpacked(target, *layers)


async def test_cve_2025_47291_group_of_a_pod_with_a_user_namespace(target: Target) -> None:
    features = (await target.call("Status", pb.StatusRequest(), pb.StatusResponse)).runtime_handlers
    kinds = [False] + [True for handler in features if handler.name == "" and handler.features.user_namespaces]
    for user_namespace in kinds:
        config = target.pod_config(network=True)
        config.linux.cgroup_parent = f"{target.shared.parent}/kubepods"
        if user_namespace:
            options = config.linux.security_context.namespace_options.userns_options
            options.mode = pb.POD
            for mapping in (options.uids.add(), options.gids.add()):
                mapping.host_id, mapping.container_id, mapping.length = 1 << 20, 0, 65536
        pod = (await target.run_pod(config), config)
        try:
            image = await target.busybox()
            container = await target.started(target.container(["sleep", "1000"], image), pod)
            limiting = _limiting_groups(target.process_of(container))
            assert limiting
            assert [path for path in limiting if not path.startswith(config.linux.cgroup_parent + "/")] == []
        finally:
            await target.remove_pod(pod[0])


def _limiting_groups(pid: int) -> list[str]:
    """Of a version 1 hierarchy that is mounted nowhere (it lives on while it has groups) nobody can make use."""
    groups = detect()
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return [path for _, names, path in lines if groups.version == 2 or groups.controllers & set(names.split(","))]


async def test_cve_2025_64329_attach_and_go(target: Target) -> None:
    config = target.container(["sleep", "1000"], await target.busybox())
    config.stdin = True
    container = await target.started(config)

    async def one() -> None:
        request = pb.AttachRequest(container_id=container, stdin=True, stdout=True, stderr=True)
        url = (await target.call("Attach", request, pb.AttachResponse)).url
        channels = await WebSocketChannels.open(url, Tls())
        await channels.close()

    await one()
    files, threads = target.open_files(), target.threads()
    for _ in range(5):
        await asyncio.gather(*(one() for _ in range(6)))
    assert await target.wait_for(lambda: target.open_files() <= files + 4), "files are left open"
    assert target.threads() <= threads + 8
    await target.remove(container)


async def test_cve_2026_46680_number_that_is_a_name(target: Target) -> None:
    layer = tar(
        [
            entry("etc"),
            entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n99999999999:x:0:0::/:/bin/sh\n-5:x:0:0::/:/bin/sh\n"),
            entry("etc/group", b"root:x:0:\n"),
        ]
    )
    for user in ("99999999999", "-5"):
        outcome = await target.run("id -u", await target.image(layer, run={"User": user}))
        assert outcome.refused or outcome.output.strip() != "0"


async def test_cve_2026_47262_unbounded_accounts(target: Target) -> None:
    endless = tar(
        [entry("etc"), entry("etc/passwd", b"x" * (32 * MIB)), entry("etc/group", b"y:x:1:" + b"web," * (6 * MIB))]
    )
    image = await target.image(endless, run={"User": "web:y"})
    before = target.memory()
    outcome = await target.run("true", image)
    assert outcome.refused
    assert target.memory() - before < 32 * MIB


async def _tags(target: Target) -> dict[str, str]:
    images = (await target.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)).images
    return {tag: image.id for image in images for tag in image.repo_tags}


async def test_cve_2026_50195_tags_by_a_checkpoint(target: Target, canary: Path, tmp_path: Path) -> None:
    busybox_image = await target.busybox()
    before = await _tags(target)
    for image in (busybox_image, "registry.k8s.io/pause:3.10", "docker.io/library/alpine:latest"):
        await target.run("true", checkpoint_archive(tmp_path / "checkpoint.tar", canary, image))
    assert await _tags(target) == before


async def test_cve_2026_53488_label_as_log_address(target: Target, canary: Path) -> None:
    address = f"binary:///bin/touch?{canary}/made"
    labels = {"containerd.io/log-uri": address, "io.containerd.log-uri": address, "io.cri-containerd.kind": "sandbox"}
    image = await target.image(accounts(), run={"Labels": labels})
    outcome = await target.run("true", image)
    assert outcome.exit_code == 0
    assert not set(labels) & set(outcome.status.labels)
    assert not set(labels) & set(outcome.status.annotations)


async def test_cve_2026_53489_log_of_a_checkpoint(target: Target, canary: Path, tmp_path: Path) -> None:
    archive = checkpoint_archive(tmp_path / "checkpoint.tar", canary, await target.busybox())
    config = target.pod_config()
    pod = (await target.run_pod(config), config)
    try:
        outcome = await target.run("true", archive, pod=pod)
        assert SECRET not in outcome.output
        for path in Path(config.log_directory).glob("*"):
            assert not path.is_symlink()
            assert SECRET not in path.read_text(errors="replace")
    finally:
        await target.remove_pod(pod[0])


async def test_cve_2026_53492_devices_by_a_checkpoint(target: Target, canary: Path, tmp_path: Path) -> None:
    archive = checkpoint_archive(tmp_path / "checkpoint.tar", canary, await target.busybox())
    outcome = await target.run("ls /dev", archive)
    assert "kmsg" not in outcome.output.split()
    assert not [name for name in outcome.status.annotations if name.startswith("cdi.k8s.io/")]
