"""Holes of libraries, helpers, plug-ins and runc, one test per line of SPEC section 10.3, in its order."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from cve.layers import accounts, entry, hardlink, symlink, tar
from cve.target import Shared, Target
from cve.test_containerd import _unpacked
from cve.test_crio import MIB, SECRET, capability_sets
from node import Node, running


async def test_cve_2020_1702_huge_configuration(target: Target) -> None:
    before = target.memory()
    huge = json.dumps({"architecture": "amd64", "os": "linux", "author": "x" * (48 * MIB)}).encode()
    assert await target.refuses(target.registry.publish("huge-config", [accounts()], config=huge))

    def lie(manifest: dict[str, Any]) -> None:
        manifest["config"]["size"] = 1 << 40

    assert await target.refuses(target.registry.publish("lying", [accounts()], change=lie))
    assert target.memory() - before < 64 * MIB


async def test_cve_2020_10749_router_advertisements(target: Target) -> None:
    before = set(os.listdir("/sys/class/net"))
    config = target.pod_config(network=True)
    pod = await target.run_pod(config)
    try:
        for name in set(os.listdir("/sys/class/net")) - before:
            conf = Path("/proc/sys/net/ipv6/conf", name)
            if not conf.exists():
                continue
            is_port = Path(f"/sys/class/net/{name}/brport").exists()
            accepts = int((conf / "accept_ra").read_text())
            forwards = int((conf / "forwarding").read_text())
            disabled = int((conf / "disable_ipv6").read_text())
            assert is_port or disabled or accepts == 0 or (accepts == 1 and forwards), f"{name} follows a pod's router"
    finally:
        await target.remove_pod(pod)


async def test_cve_2021_20206_plugin_type_with_a_path(target: Target, shared: Shared, canary: Path) -> None:
    """Who may write network configurations is root; so this needs a daemon whose configuration is ours."""
    if not shared.own:
        pytest.skip("the network's configuration is not within reach of the CRI socket")
    node = Node(shared.directory / "cni")
    evil = shared.directory / "evil"
    evil.write_text(f"#!/bin/sh\necho x >{canary}/made\n")
    evil.chmod(0o755)
    conflist = {"cniVersion": "1.0.0", "name": "evil", "plugins": [{"type": f"../../../../../../../..{evil}"}]}
    (node.root / "net.d" / "10-test.conflist").write_text(json.dumps(conflist))
    async with running(node):
        with pytest.raises(CrioError):
            await node.run_pod(node.pod_config())


async def test_cve_2021_20291_malformed_layer(target: Target) -> None:
    def truncate(manifest: dict[str, Any]) -> None:
        descriptor = manifest["layers"][0]
        path = f"/v2/malformed/blobs/{descriptor['digest']}"
        _, data = target.registry._documents[path]
        manifest["layers"][0] = target.registry.blob("malformed", data[:-20], descriptor["mediaType"])

    def other_content(manifest: dict[str, Any]) -> None:
        descriptor = manifest["layers"][0]
        target.registry.serve(f"/v2/malformed/blobs/{descriptor['digest']}", "x", b"something else")

    for change in (truncate, other_content):
        assert await target.refuses(target.registry.publish("malformed", [accounts()], change=change))
    header = struct.pack(">512s", b"\xff" * 512)
    assert await target.refuses(target.registry.publish("malformed", [header * 3]))
    # The store is not locked by any of them.
    assert await target.image(tar([entry("after", b"x")]))


async def test_cve_2024_3727_digests_that_are_paths(target: Target, canary: Path) -> None:
    traversal = f"sha256:../../../../../../../../../../..{canary}/made"
    for where in ("config", "layers"):

        def attack(manifest: dict[str, Any], where: str = where) -> None:
            descriptor = manifest[where] if where == "config" else manifest[where][0]
            descriptor["digest"] = traversal

        assert await target.refuses(target.registry.publish("digest", [accounts()], change=attack))
    for digest in (traversal, "sha256:" + "a" * 63, "md5:../x", "sha256:" + "A" * 64):
        reference = f"{target.registry.host}/digest@{digest}"
        assert await target.refuses(reference)
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=reference))
        try:
            assert not (await target.call("ImageStatus", request, pb.ImageStatusResponse)).HasField("image")
        except CrioError:
            pass


async def test_cve_2024_9341_link_at_the_fips_mount(target: Target, canary: Path) -> None:
    for layer in (
        tar([entry("etc"), entry("etc/crypto-policies"), symlink("etc/crypto-policies/back-ends", str(canary))]),
        tar([entry("etc"), symlink("etc/crypto-policies", str(canary)), symlink("etc/system-fips", f"{canary}/made")]),
        tar([entry("run"), symlink("run/secrets", str(canary))]),
    ):
        outcome = await target.run("find /etc /run -follow -name secret -exec cat {} +", await target.image(layer))
        assert SECRET not in outcome.output


async def test_cve_2024_9676_accounts_elsewhere(target: Target, canary: Path) -> None:
    passwd = canary.parent / f"{canary.name}-passwd"
    passwd.write_text("host-user:x:0:0::/:/bin/sh\n")
    fifo = tar([entry("etc"), entry("etc/passwd", b"", type=b"6"), entry("etc/group", b"", type=b"6")])
    try:
        for layer in (tar([entry("etc"), symlink("etc/passwd", str(passwd))]), fifo):
            for user in ("host-user", "1000"):
                outcome = await target.run("grep Uid: /proc/self/status", await target.image(layer, run={"User": user}))
                assert outcome.refused or outcome.output.split()[1:3] == ["1000", "1000"]
    finally:
        passwd.unlink()


async def test_cve_2025_11395_cve_2026_79699_crafted_layers(target: Target, canary: Path) -> None:
    up = "../" * 16
    for layer in (
        tar([entry(f"{up}{canary}/made", b"x")]),
        tar([entry(f"{canary}/made", b"x")]),
        tar([symlink("d", f"{up}{canary}"), entry("d/made", b"x")]),
        tar([hardlink("h", f"{up}{canary}/secret"), entry("h", b"overwritten")]),
        tar([symlink("s", f"{canary}/secret"), entry("s", b"overwritten")]),
        tar([hardlink("h", f"{canary}/secret")]),
        tar([entry("d"), symlink("d/up", ".."), symlink("d/up2", "up/.."), entry(f"d/up2/..{canary}/made", b"x")]),
    ):
        if reference := await _unpacked(target, layer):
            outcome = await target.run("cat /h /s /d/secret", reference)
            assert SECRET not in outcome.output


async def test_cve_2026_24054_image_without_layers(target: Target, canary: Path) -> None:
    reference = target.registry.publish("empty", [], {"Cmd": ["/bin/sh"]})
    if await target.refuses(reference):
        return
    outcome = await target.run(f"cat {canary}/secret", reference)
    assert outcome.refused


async def test_runc_cve_2019_5736_program_of_the_runtime(target: Target) -> None:
    programs = [path for name in ("crun", "runc", "conmon") if (path := shutil.which(name))]
    before = [hashlib.sha256(Path(path).read_bytes()).digest() for path in programs]
    script = tar([entry("evil", b"#!/proc/self/exe\n", mode=0o755), symlink("evil-link", "/proc/self/exe")])
    image = await target.image(script)
    for command in (
        ["/evil"],
        ["/evil-link"],
        ["sh", "-c", "for n in 0 1 2; do echo x >>/proc/1/exe; sleep 0.1; done"],
    ):
        await target.run(command, image)
    container = await target.started(target.container(["sleep", "1000"], image))
    for path in ("/evil", "/proc/self/exe"):
        try:
            await target.exec(container, path)
        except CrioError:
            continue
    await target.remove(container)
    assert [hashlib.sha256(Path(path).read_bytes()).digest() for path in programs] == before


async def test_runc_cve_2019_16884_proc_under_a_volume(target: Target) -> None:
    fake = tar([entry("fake"), entry("fake/self"), entry("fake/self/attr"), symlink("proc", "/fake")])
    plain = tar([entry("x", b"")])
    cases: list[tuple[bytes, list[str]]] = [(fake, []), (plain, ["/proc"]), (fake, ["/proc", "/sys"])]
    for layer, volumes in cases:
        image = await target.image(layer, run={"Volumes": {volume: {} for volume in volumes}})
        outcome = await target.run("grep -c ' /proc proc ' /proc/self/mounts; cat /proc/1/comm", image)
        assert outcome.refused or outcome.output.splitlines()[0] == "1"

    def over_proc(config: pb.ContainerConfig) -> None:
        config.mounts.add(container_path="/proc/self/attr", host_path="/tmp")

    outcome = await target.run("ls /proc/self/attr", change=over_proc)
    assert outcome.refused


async def test_runc_cve_2021_30465_links_at_mount_points(target: Target, canary: Path) -> None:
    image = await target.image(tar([symlink("mnt", "/../../../../../../../.."), symlink("out", str(canary))]))
    for path in (f"/mnt{canary}/made", "/out/made", "/out"):

        def attack(config: pb.ContainerConfig, path: str = path) -> None:
            config.mounts.add(container_path=path, host_path="/usr")

        await target.run("true", image, change=attack)
        mounts = Path("/proc/self/mountinfo").read_text()
        assert str(canary) not in mounts


async def test_runc_cve_2022_29162_inheritable_capabilities_of_privileged(target: Target) -> None:
    config = target.pod_config()
    config.linux.security_context.privileged = True
    pod = (await target.run_pod(config), config)

    def privileged(container: pb.ContainerConfig) -> None:
        container.linux.security_context.privileged = True

    try:
        outcome = await target.run("cat /proc/self/status", change=privileged, pod=pod)
        assert capability_sets(outcome.output)["CapInh"] == 0
    finally:
        await target.remove_pod(pod[0])


async def test_runc_cve_2023_25809_control_groups(target: Target) -> None:
    groups = "ls /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null"
    outcome = await target.run(f"for file in $({groups}); do echo seen; mkdir $(dirname $file)/evil && echo made; done")
    assert "seen" in outcome.output.split()
    assert "made" not in outcome.output.split()


async def test_runc_cve_2024_21626_working_directory(target: Target) -> None:
    inside = await target.run("ls /")
    for number in range(3, 16):
        for directory in (f"/proc/self/fd/{number}", f"/link/{number}"):
            image = await target.image(tar([symlink("link", "/proc/self/fd")]), run={"WorkingDir": directory})
            # stdout and stderr are two pipes: which of them is logged first is chance.
            command = "ls ../../../../../..; exec 2>&1; cat ../../../../../etc/hostname /proc/self/cwd/../x"
            outcome = await target.run(command, image)
            if outcome.refused:
                break
            assert outcome.output.splitlines()[0] == inside.output.splitlines()[0]
            assert Path("/etc/hostname").read_text().strip() not in outcome.output.split("\n")
        else:
            continue
        break
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    links = (await target.exec(container, "sh", "-c", "ls -l /proc/self/fd; ls -l /proc/1/fd")).stdout.decode()
    await target.remove(container)
    targets = [line.partition(" -> ")[2] for line in links.splitlines() if " -> " in line]
    assert [path for path in targets if path.startswith("/") and not path.startswith(("/dev/", "/proc/"))] == []


async def test_runc_cve_2024_45310_files_made_on_the_host(target: Target, canary: Path) -> None:
    volume = canary.parent / f"{canary.name}-volume"
    volume.mkdir()
    (volume / "link").symlink_to(canary)
    (volume / "absolute").symlink_to("/" + str(canary).lstrip("/") + "/made")
    try:
        for name in ("link/made", "link/directory/made", "absolute"):

            def attack(config: pb.ContainerConfig, name: str = name) -> None:
                config.mounts.add(container_path="/volume", host_path=str(volume))
                config.mounts.add(container_path=f"/volume/{name}", host_path="/etc/hostname")

            await target.run("true", change=attack)
            assert sorted(path.name for path in canary.iterdir()) == ["secret"]
    finally:
        shutil.rmtree(volume)


async def test_runc_cve_2025_31133_redirected_masks(target: Target, canary: Path) -> None:
    core_pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    for layer in (
        tar([entry("dev"), symlink("dev/null", "/proc/sys/kernel/core_pattern")]),
        tar([entry("dev"), symlink("dev/console", "/proc/sys/kernel/core_pattern"), symlink("dev/pts", "/proc/sys")]),
        tar([entry("dev"), symlink("dev/null", str(canary / "secret")), symlink("dev/shm", str(canary))]),
    ):
        image = await target.image(layer)
        for tty in (False, True):

            def masked(config: pb.ContainerConfig, tty: bool = tty) -> None:
                config.tty = tty
                config.linux.security_context.masked_paths.extend(["/proc/kcore", "/proc/keys", "/proc/timer_list"])
                config.linux.security_context.readonly_paths.extend(["/proc/sys", "/proc/sysrq-trigger"])

            command = (
                "echo '|/evil' >/proc/sys/kernel/core_pattern; echo x >/dev/console; head -c 64 /proc/keys | wc -c"
            )
            outcome = await target.run(command, image, change=masked)
            # stdout and stderr are two pipes: which of them is logged first is chance.
            sizes = [line.strip() for line in outcome.output.splitlines() if line.strip().isdigit()]
            assert outcome.refused or sizes == ["0"]
            assert SECRET not in outcome.output
        assert Path("/proc/sys/kernel/core_pattern").read_text() == core_pattern
        assert subprocess.run(["test", "-c", "/dev/null"], check=False).returncode == 0
