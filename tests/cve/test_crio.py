"""Holes that CRI-O had, one test per line of SPEC section 10.1, in its order."""

from __future__ import annotations

import asyncio
import io
import json
import random
import socket
import struct
import tarfile
from pathlib import Path

import pytest
from google.protobuf.message import Message

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.cli.crioctl.streams.pipe import Tls, upgrade
from crio.linux.cgroup import detect
from crio.wire import spdy
from cve.layers import entry, symlink, tar
from cve.registry import MANIFEST
from cve.target import Target

MIB = 1 << 20
SECRET = "the-secret-of-the-host"


def capability_sets(output: str) -> dict[str, int]:
    """The Cap lines of a /proc/PID/status."""
    lines = [line.split(":") for line in output.splitlines() if line.startswith("Cap")]
    return {name: int(value, 16) for name, value in lines}


async def test_cve_2018_1000400_capabilities_of_a_user(target: Target) -> None:
    def as_user(config: pb.ContainerConfig) -> None:
        config.linux.security_context.run_as_user.value = 1000

    outcome = await target.run("cat /proc/self/status", change=as_user)
    sets = capability_sets(outcome.output)
    assert (sets["CapEff"], sets["CapPrm"], sets["CapAmb"], sets["CapInh"]) == (0, 0, 0, 0)


async def test_cve_2019_14891_oom_of_the_pod(target: Target) -> None:
    groups = detect()
    config = target.pod_config()
    config.linux.cgroup_parent = f"{target.shared.parent}/oom"
    groups.create(config.linux.cgroup_parent)
    limit = "memory.limit_in_bytes" if groups.version == 1 else "memory.max"
    root = next(root for root in groups.roots() if Path(f"{root}{config.linux.cgroup_parent}/{limit}").exists())
    Path(f"{root}{config.linux.cgroup_parent}/{limit}").write_text(str(24 * MIB))
    pod = (await target.run_pod(config), config)
    try:
        container = await target.create(target.container(["sh", "-c", "tail /dev/zero"], await target.busybox()), pod)
        await target.start(container)
        status = await target.wait_exited(container)
        assert status.exit_code != 0
    finally:
        await target.remove_pod(pod[0])


async def test_cve_2022_0532_sysctl_of_the_host(target: Target) -> None:
    for name, namespace in (("net.ipv4.ip_default_ttl", "network"), ("kernel.shm_rmid_forced", "ipc")):
        path = Path("/proc/sys", *name.split("."))
        before = path.read_text()
        config = target.pod_config()
        setattr(config.linux.security_context.namespace_options, namespace, pb.NODE)
        config.linux.sysctls[name] = str(int(before) + 1)
        try:
            pod = await target.run_pod(config)
            await target.remove_pod(pod)
        except CrioError:
            pass
        assert path.read_text() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/bin/sh"),
        ("net.ipv4.ip_default_ttl", "64\nkernel.core_pattern=|/bin/sh"),
        ("net.ipv4.ip_default_ttl+kernel.core_pattern", "64"),
        ("net/../kernel/core_pattern", "|/bin/sh"),
        ("kernel.core_pattern", "|/bin/sh"),
    ],
)
async def test_cve_2022_0811_cr8escape(target: Target, name: str, value: str) -> None:
    core_pattern = Path("/proc/sys/kernel/core_pattern")
    before = core_pattern.read_text()
    config = target.pod_config(network=True)
    config.linux.sysctls[name] = value
    with pytest.raises(CrioError):
        await target.run_pod(config)
    assert core_pattern.read_text() == before


async def test_cve_2022_1708_endless_output_of_exec(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    before = target.memory()
    try:
        answer = await target.exec(container, "head", "-c", str(64 * MIB), "/dev/zero")
    except CrioError:
        answer = pb.ExecSyncResponse()
    assert len(answer.stdout) <= 16 * MIB
    assert target.memory() - before < 96 * MIB
    await target.remove(container)


async def test_cve_2022_2995_primary_group(target: Target) -> None:
    image = await target.image(accounts_layer(), run={"User": "web"})
    outcome = await target.run("id -g; grep Groups: /proc/self/status", image)
    primary, groups = outcome.output.splitlines()
    assert primary == "50"
    assert "50" in groups.split(), "a program that gives up its primary group would pass negative permissions"

    def other_group(config: pb.ContainerConfig) -> None:
        config.linux.security_context.run_as_user.value = 1000
        config.linux.security_context.run_as_group.value = 3000

    outcome = await target.run("id -g; grep Groups: /proc/self/status", image, change=other_group)
    primary, groups = outcome.output.splitlines()
    assert primary == "3000"
    assert "50" not in groups.split()


def accounts_layer() -> bytes:
    return tar(
        [
            entry("etc"),
            entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:50:web:/:/bin/sh\n"),
            entry("etc/group", b"root:x:0:\nstaff:x:50:\ndocker:x:998:web\n"),
        ]
    )


async def extra_roots(target: Target, home: str, image: str = "") -> list[str]:
    """Accounts of /etc/passwd with user id 0 other than root, in a container with this HOME for an unknown user."""

    def attack(config: pb.ContainerConfig) -> None:
        if home:
            config.envs.add(key="HOME", value=home.encode())
        config.linux.security_context.run_as_user.value = 4242

    outcome = await target.run("cat /etc/passwd", image, change=attack)
    lines = [line.split(":") for line in outcome.output.splitlines()]
    return [line[0] for line in lines if len(line) > 2 and line[2] == "0" and line[0] != "root"]


async def test_cve_2022_4318_newline_in_home(target: Target) -> None:
    for newline in ("\n", "\\n", "\r\n"):
        assert await extra_roots(target, f"/:/bin/sh{newline}evil::0:0::/root") == []


async def test_cve_2022_27652_inheritable_capabilities(target: Target) -> None:
    outcome = await target.run("cat /proc/self/status")
    assert capability_sets(outcome.output)["CapInh"] == 0


async def test_cve_2023_6476_limits_by_annotation(target: Target) -> None:
    config = target.pod_config()
    for name in ("target.workload.openshift.io/management", "io.crio/management", "resources.workload.openshift.io/c"):
        config.annotations[name] = '{"effect":"PreferredDuringScheduling","cpushares":262144,"memory":"0"}'
    config.annotations["io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw"] = "true"
    pod = (await target.run_pod(config), config)
    try:

        def limited(container: pb.ContainerConfig) -> None:
            container.annotations.update(config.annotations)
            container.linux.resources.memory_limit_in_bytes = 64 * MIB
            container.linux.resources.cpu_shares = 100

        find = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -1"
        outcome = await target.run(find, change=limited, pod=pod)
        assert outcome.refused or outcome.output.strip() == str(64 * MIB)
    finally:
        await target.remove_pod(pod[0])


async def test_cve_2024_3154_systemd_properties(target: Target, canary: Path) -> None:
    name = "org.systemd.property.ExecStartPre"
    value = f"('{canary}/made', ['touch', '{canary}/made'], false)"
    config = target.pod_config()
    config.annotations[name] = value
    try:
        pod = (await target.run_pod(config), config)
    except CrioError:
        return
    try:
        container = target.container(["sleep", "1000"], await target.busybox())
        container.annotations[name] = value
        try:
            created = await target.started(container, pod)
        except CrioError:
            return
        annotations = (await target.specification(created)).get("annotations", {})
        assert isinstance(annotations, dict)
        assert not [key for key in annotations if key.startswith("org.systemd.property")]
    finally:
        await target.remove_pod(pod[0])


async def test_cve_2024_5154_links_in_etc(target: Target, canary: Path) -> None:
    for layer in (
        tar([symlink("etc", str(canary))]),
        tar([entry("etc"), symlink("etc/mtab", f"{canary}/made")]),
        tar([entry("etc"), symlink("etc/hosts", f"{canary}/secret"), symlink("etc/hostname", f"{canary}/made")]),
        tar([entry("etc"), symlink("etc/passwd", f"{canary}/secret"), symlink("etc/group", "../../../proc/1/environ")]),
        tar([symlink("run", str(canary)), symlink("var", str(canary))]),
    ):
        image = await target.image(layer)

        def with_file(config: pb.ContainerConfig) -> None:
            config.linux.security_context.run_as_user.value = 4242
            config.mounts.add(container_path="/etc/resolv.conf", host_path="/etc/resolv.conf", readonly=True)

        outcome = await target.run("cat /etc/secret /etc/hosts /etc/passwd", image, change=with_file)
        assert SECRET not in outcome.output


def checkpoint_archive(path: Path, canary: Path, image: str) -> str:
    """An archive as a checkpoint makes it, with a mount, a log and annotations of the attacker's choice."""
    mount = {"destination": "/host", "type": "bind", "source": str(canary), "options": ["rbind", "rw"]}
    documents = {
        "config.dump": {"id": "a" * 64, "name": "evil", "rootfsImageName": image, "rootfsImage": image},
        "spec.dump": {
            "ociVersion": "1.0.0",
            "process": {"args": ["cat", "/host/secret"], "cwd": "/"},
            "root": {"path": "rootfs"},
            "mounts": [mount],
            "annotations": {
                "cdi.k8s.io/evil": "evil.example/disk=all",
                "io.kubernetes.cri-o.Annotations": "{}",
                "io.kubernetes.container.name": "evil",
            },
            "linux": {"devices": [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]},
        },
        "bind.mounts": [mount],
    }
    entries = [entry(name, json.dumps(document).encode()) for name, document in documents.items()]
    entries += [entry("checkpoint"), entry("checkpoint/inventory.img", b"\x00"), entry("dump.log", b"")]
    entries += [symlink("container.log", f"{canary}/secret"), entry("rootfs-diff.tar", tar([entry("x", b"x")]))]
    path.write_bytes(tar(entries))
    return str(path)


async def test_cve_2024_8676_mounts_of_a_checkpoint(target: Target, canary: Path, tmp_path: Path) -> None:
    archive = checkpoint_archive(tmp_path / "checkpoint.tar", canary, await target.busybox())
    outcome = await target.run("cat /host/secret", archive)
    assert SECRET not in outcome.output
    # The same in the form of an image.
    name = "io.kubernetes.cri-o.annotations.checkpoint.name"
    layer = Path(archive).read_bytes()
    reference = target.registry.publish(
        "checkpoint",
        [layer],
        change=lambda manifest: manifest.update(
            annotations={name: "evil", "org.criu.checkpoint.container.name": "evil"}
        ),
    )
    if not await target.refuses(reference):
        outcome = await target.run("cat /host/secret", reference)
        assert SECRET not in outcome.output


async def test_cve_2025_0750_link_of_logs(target: Target, canary: Path) -> None:
    for value in ("../../../../../../../../.." + str(canary), str(canary), "a/../../..", "."):
        config = target.pod_config()
        config.annotations["io.kubernetes.cri-o.LinkLogs"] = value
        try:
            pod = (await target.run_pod(config), config)
        except CrioError:
            continue
        try:
            await target.run("true", pod=pod)
        finally:
            await target.remove_pod(pod[0])
        assert sorted(path.name for path in canary.iterdir()) == ["secret"]


async def test_cve_2025_4437_huge_passwd(target: Target) -> None:
    lines = b"user%d:x:1:1::/:/bin/sh\n"
    passwd = b"".join(lines % number for number in range(1_500_000))
    image = await target.image(tar([entry("etc"), entry("etc/passwd", passwd)]), run={"User": "nobody-has-this"})
    before = target.memory()
    outcome = await target.run("true", image)
    assert outcome.refused
    assert target.memory() - before < 32 * MIB


async def test_cve_2025_58183_sparse_map(target: Target) -> None:
    before = target.memory()
    for header in (
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "1"},
        {"GNU.sparse.map": "0,1," * 400_000, "GNU.sparse.size": "1", "GNU.sparse.numblocks": "400000"},
    ):
        info, _ = entry("x", b"")
        info.pax_headers = header
        body = b"99999999999\n" + b"0\n1\n" * 200_000
        info.size = len(body)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(info, io.BytesIO(body))
        reference = target.registry.publish("sparse", [buffer.getvalue()])
        await target.refuses(reference)
        assert target.memory() - before < 64 * MIB


async def test_cve_2026_34986_encrypted_image(target: Target) -> None:
    before = target.memory()

    def encrypt(manifest: dict[str, object]) -> None:
        layers = manifest["layers"]
        assert isinstance(layers, list)
        for layer in layers:
            layer["mediaType"] += "+encrypted"
            layer["annotations"] = {
                "org.opencontainers.image.enc.keys.jwe": "e30." * 300_000,
                "org.opencontainers.image.enc.pubopts": "e30=",
            }

    reference = target.registry.publish("jose", [accounts_layer()], change=encrypt)
    assert await target.refuses(reference)
    assert target.memory() - before < 64 * MIB


async def test_cve_2026_35469_spdy_frames(target: Target) -> None:
    container = await target.started(target.container(["sleep", "1000"], await target.busybox()))
    request = pb.ExecRequest(container_id=container, cmd=["cat"], stdin=True, stdout=True)
    url = (await target.call("Exec", request, pb.ExecResponse)).url
    before = target.memory()
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")]
    pipe, _, _ = await upgrade(url, "POST", headers, Tls())
    attacker = spdy.SpdyConnection(client=True)
    try:
        async with asyncio.timeout(20):
            for _ in range(300):
                for _ in range(40):
                    attacker.open_stream({"streamtype": "stdin", "x": "y" * 2000})
                await pipe.write(attacker.take_output())
            # A control frame that claims sixteen megabytes.
            await pipe.write(struct.pack(">HHI", 0x8003, 1, 0xFFFFFF) + b"\0" * 65536)
    except (CrioError, TimeoutError, spdy.SpdyError):
        pass
    finally:
        await pipe.close()
    assert target.memory() - before < 64 * MIB
    await target.remove(container)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def test_cve_2026_39821_http2_floods(target: Target) -> None:
    before = target.memory()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
    continuations = _frame(1, 0, 1, b"\x82") + _frame(9, 0, 1, b"\0\1a" + b"\x7f\x80\x01" + b"b" * 255) * 40_000
    resets = b"".join(
        _frame(1, 4, 2 * n + 1, b"\x83\x86\x84") + _frame(3, 0, 2 * n + 1, b"\0\0\0\x08") for n in range(30_000)
    )
    settings = _frame(4, 0, 0, struct.pack(">HI", 4, 65535) * 100) * 5_000
    pings = _frame(6, 0, 0, b"12345678") * 100_000
    for flood in (continuations, resets, settings, pings):
        await asyncio.to_thread(_send_all, target.shared.endpoint.removeprefix("unix://"), preface + flood)
        assert await target.alive()
    assert target.memory() - before < 64 * MIB


def _send_all(path: str, data: bytes) -> None:
    """Send without reading an answer, until the other side has enough or a few seconds are over."""
    with socket.socket(socket.AF_UNIX) as attacker:
        attacker.connect(path)
        attacker.settimeout(3.0)
        try:
            attacker.sendall(data)
        except OSError:
            pass


async def test_cve_2026_15809_newline_byte_in_home_of_an_image(target: Target) -> None:
    image = await target.image(accounts_layer(), run={"Env": ["PATH=/bin", "HOME=/:/bin/sh\nevil::0:0::/root:/bin/sh"]})
    assert await extra_roots(target, "", image) == []
    image = await target.image(accounts_layer(), run={"WorkingDir": "/x\nevil::0:0::/root:/bin/sh"})
    assert await extra_roots(target, "", image) == []


async def test_ada_logics_audit_noise(target: Target) -> None:
    noise = random.Random(2022)
    path = target.shared.endpoint.removeprefix("unix://")
    for _ in range(40):
        await asyncio.to_thread(_send_all, path, noise.randbytes(noise.randrange(1, 4000)))
        await asyncio.to_thread(_send_all, path, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise.randbytes(500))
    for method in ("RunPodSandbox", "CreateContainer", "ExecSync", "ListContainers", "UpdateContainerResources"):
        for _ in range(20):
            with pytest.raises(CrioError):
                await target.call(method, _Raw(noise.randbytes(noise.randrange(1, 300))), pb.StatusResponse, 5.0)
    for _ in range(20):
        reference = target.registry.publish_manifest("noise", noise.randbytes(noise.randrange(1, 3000)), MANIFEST)
        assert await target.refuses(reference)


class _Raw(Message):
    """Bytes that pose as a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self, **_: object) -> bytes:  # noqa: N802 - protobuf's name
        return self._data
