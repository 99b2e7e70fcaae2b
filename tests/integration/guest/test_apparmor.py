"""AppArmor, enforced by the kernel: the default profile, profiles of the node, none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from node import Node

pytestmark = pytest.mark.skipif(not os.path.exists("/sys/kernel/security/apparmor"), reason="needs AppArmor")

OPEN = ("sh", "-c", ": >/proc/sysrq-trigger")
"""Opening it for writing is the attack; a character written would be the machine's end."""


async def _run(node: Node, profile: pb.SecurityProfile | None) -> str:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    config = node.container_config(["sleep", "1000"])
    if profile is not None:
        config.linux.security_context.apparmor.CopyFrom(profile)
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    return container


async def _profile_of(node: Node, container: str) -> str:
    return (await node.exec(container, "cat", "/proc/1/attr/current")).stdout.decode().strip("\0\n")


async def test_the_default_profile_is_enforced(node: Node) -> None:
    container = await _run(node, None)
    assert await _profile_of(node, container) == "crio-default (enforce)"
    refused = await node.exec(container, *OPEN)
    assert refused.exit_code != 0
    assert b"ermission denied" in refused.stderr
    mounted = await node.exec(container, "mount", "-t", "tmpfs", "none", "/tmp")
    assert mounted.exit_code != 0


async def test_without_a_profile_the_same_is_possible(node: Node) -> None:
    container = await _run(node, pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined))
    assert await _profile_of(node, container) == "unconfined"
    assert (await node.exec(container, *OPEN)).exit_code == 0


async def test_a_profile_of_the_node(node: Node, tmp_path: Path) -> None:
    name = f"crio-test-{os.getpid()}"
    profile = tmp_path / "profile"
    profile.write_text(
        f"profile {name} flags=(attach_disconnected) {{\n  file,\n  network,\n  signal,\n"
        "  capability,\n  deny /secret/** w,\n}\n"
    )
    subprocess.run(["apparmor_parser", "-r", str(profile)], check=True)
    try:
        kind = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=name)
        container = await _run(node, kind)
        assert await _profile_of(node, container) == f"{name} (enforce)"
        assert (await node.exec(container, "mkdir", "/secret")).exit_code == 0
        assert (await node.exec(container, "sh", "-c", "echo x >/secret/x")).exit_code != 0
        assert (await node.exec(container, "sh", "-c", "echo x >/tmp/x")).exit_code == 0
    finally:
        await node.remove_all_pods()
        subprocess.run(["apparmor_parser", "-R", str(profile)], check=True)


async def test_a_profile_that_is_not_loaded(node: Node) -> None:
    kind = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="no-such-profile")
    with pytest.raises(RpcError) as caught:
        await _run(node, kind)
    assert caught.value.code in (Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT)
    assert "no-such-profile" in str(caught.value)
