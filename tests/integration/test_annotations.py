"""What pods ask for by annotations, and what they get only where it is allowed."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from node import Node, running
from registry_server import registry

pytestmark = pytest.mark.root

SETTINGS = """
blockio_config_file = "{root}/blockio.yaml"
infra_ctr_cpuset = "0"
[crio.runtime.workloads.special]
activation_annotation = "special"
annotation_prefix = "special.example.com"
allowed_annotations = [
    "shm-size.crio.io", "io.kubernetes.cri-o.seccompNotifierAction", "rootfs-quota.crio.io", "umask.crio.io",
    "seccomp-profile.crio.io", "ulimits.crio.io",
]
[crio.runtime.workloads.special.resources]
cpushares = 512
"""


@pytest.fixture
async def node(scratch: Path, layout: str) -> AsyncIterator[Node]:
    root = scratch / "node"
    made = Node(root, settings=SETTINGS.format(root=root))
    (root / "blockio.yaml").write_text(
        "Classes:\n  slow:\n    - ThrottleReadBps: 50M\n      Devices: [/dev/vd?, /dev/sd?, /dev/ubd?]\n"
    )
    async with running(made, layout):
        yield made


def annotated(node: Node, found: dict[str, str], name: str = "pod", *, special: bool = True) -> pb.PodSandboxConfig:
    config = node.host_network(node.pod_config(name))
    if special:
        config.annotations["special"] = ""
    config.annotations.update(found)
    return config


async def started(node: Node, pod_config: pb.PodSandboxConfig, config: pb.ContainerConfig | None = None) -> str:
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, config or node.container_config(["sleep", "600"]), pod_config)
    await node.start_container(container)
    return container


def spec(node: Node, container: str) -> Any:
    return json.loads((node.root / "state" / "containers" / container / "config.json").read_text())


async def test_only_where_they_are_allowed(node: Node) -> None:
    asked = {"shm-size.crio.io": "8Mi", "io.kubernetes.cri-o.umask": "077", "ulimits.crio.io": "nofile=77:88"}
    script = "umask; ulimit -n; df -k /dev/shm | tail -1"
    for special, expected in ((True, ("0077", "77", "8192", 512)), (False, ("0022", None, "65536", None))):
        config = node.container_config(["sh", "-c", script])
        container = await started(node, annotated(node, asked, f"pod{special}", special=special), config)
        await node.wait_exited(container)
        lines = [line.removeprefix("stdout F ") for line in node.log_lines(f"pod{special}")]
        assert lines[0] == expected[0]
        assert expected[1] in (None, lines[1])
        assert lines[2].split()[1] == expected[2]
        assert spec(node, container)["linux"]["resources"].get("cpu", {}).get("shares") == expected[3]


async def test_sizes_that_are_none(node: Node) -> None:
    with pytest.raises(RpcError, match="shm-size"):
        await node.run_pod(annotated(node, {"shm-size.crio.io": "many"}))
    pod_config = annotated(node, {"rootfs-quota.crio.io": "64Mi"})
    pod = await node.run_pod(pod_config)
    # This store is on a tmpfs, which has no quota of projects: better no container than one without its limit.
    with pytest.raises(RpcError, match=r"limit|quota"):
        await node.create(pod, node.container_config(["true"]), pod_config)


async def test_block_io_classes(node: Node) -> None:
    pod_config = annotated(node, {"blockio.resources.beta.kubernetes.io/pod": "slow"})
    container = await started(node, pod_config)
    limits = spec(node, container)["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"]
    assert [limit["rate"] for limit in limits] == [50_000_000] * len(limits)
    other = annotated(node, {"blockio.resources.beta.kubernetes.io/container.ctr": "fast"}, "other")
    pod = await node.run_pod(other)
    with pytest.raises(RpcError, match="fast"):
        await node.create(pod, node.container_config(["true"]), other)


async def test_a_container_ends_for_forbidden_calls(node: Node) -> None:
    pod_config = annotated(node, {"seccomp-notifier-action.crio.io": "stop"})
    config = node.container_config(["sh", "-c", "sleep 1; chroot / true; sleep 600"])
    config.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    container = await started(node, pod_config, config)
    ended = await node.wait_exited(container)
    assert ended.reason == "seccomp killed"
    assert "chroot" in ended.message
    assert ended.message.startswith("Used forbidden syscalls: ")


def push_profile(host: str, name: str, profile: bytes) -> str:
    """An artifact with one file, as `oras push` makes it."""

    def put(url: str, data: bytes, kind: str) -> None:
        request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": kind})
        urllib.request.urlopen(request, timeout=60).close()

    def blob(data: bytes, kind: str, **more: object) -> dict[str, object]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        start = urllib.request.Request(f"http://{host}/v2/{name}/blobs/uploads/", method="POST")
        with urllib.request.urlopen(start, timeout=60) as answer:
            place = answer.headers["Location"]
        put(f"{place}&digest={digest}", data, "application/octet-stream")
        return {"mediaType": kind, "digest": digest, "size": len(data), **more}

    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": blob(b"{}", "application/vnd.cncf.seccomp-profile.config.v1+json"),
        "layers": [
            blob(profile, "application/json", annotations={"org.opencontainers.image.title": "profile.json"}),
        ],
    }
    put(f"http://{host}/v2/{name}/manifests/1", json.dumps(manifest).encode(), kind)
    return f"{host}/{name}:1"


async def test_a_profile_from_a_registry(node: Node, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    with registry(str(tmp_path)) as running_registry:
        (node.root / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{running_registry.host}"\ninsecure = true\n'
        )
        name = push_profile(running_registry.host, "profiles/nodirs", json.dumps(profile).encode())
        pod_config = annotated(node, {"seccomp-profile.kubernetes.cri-o.io/POD": name})
        container = await started(node, pod_config)
    answer = await node.exec(container, "mkdir", "/tmp/x")
    assert b"not supported" in answer.stderr
    # A profile that the request names counts, and then no artifact.
    other = node.container_config(["sleep", "600"], name="other")
    other.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    pod = (await node.pods())[0].id
    second = await node.create(pod, other, pod_config)
    await node.start_container(second)
    assert (await node.exec(second, "mkdir", "/tmp/x")).exit_code == 0


async def test_a_profile_that_cannot_be_had_is_no_freedom(node: Node) -> None:
    pod_config = annotated(node, {"seccomp-profile.crio.io/POD": "127.0.0.1:1/no/such:1"})
    pod = await node.run_pod(pod_config)
    with pytest.raises(RpcError, match="seccomp profile"):
        await node.create(pod, node.container_config(["true"]), pod_config)


async def test_what_holds_a_pod_together_has_its_own_cpus(node: Node) -> None:
    pod_config = annotated(node, {})
    pod_config.linux.security_context.namespace_options.pid = pb.POD
    pod = await node.run_pod(pod_config)
    record = json.loads((node.root / "state" / "sandboxes" / pod / "sandbox.json").read_text())
    status = Path(f"/proc/{record['pause_pid']}/status").read_text()
    assert "Cpus_allowed_list:\t0\n" in status
