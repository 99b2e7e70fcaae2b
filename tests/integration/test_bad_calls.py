"""Every call with what no client should send: each answer is a sentence with a code, and the daemon goes on.

No answer is INTERNAL, whose text is for the daemon's authors.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from node import Node, running

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

LONG = "x" * 100_000
WRONG_IDS = {
    "": Code.INVALID_ARGUMENT,
    "zzz": Code.NOT_FOUND,
    "0" * 64: Code.NOT_FOUND,
    "a\0b": Code.NOT_FOUND,
    "../../etc/passwd": Code.NOT_FOUND,
    LONG: Code.NOT_FOUND,
}
ABOUT_PODS = ("StopPodSandbox", "RemovePodSandbox", "PodSandboxStatus", "PortForward", "PodSandboxStats")
ABOUT_CONTAINERS = (
    "StopContainer",
    "RemoveContainer",
    "StartContainer",
    "ContainerStatus",
    "UpdateContainerResources",
    "ReopenContainerLog",
    "Exec",
    "Attach",
    "ContainerStats",
    "CheckpointContainer",
)
IDEMPOTENT = ("Stop", "Remove")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(layout: str) -> AsyncIterator[Node]:
    """One for all tests: none leaves anything."""
    root = Path("/dev/shm") / f"crio-test-{uuid.uuid4().hex[:8]}"
    root.mkdir()
    try:
        async with running(Node(root / "node"), layout) as made:
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


async def outcome(node: Node, method: str, request: Message) -> tuple[Code, str]:
    """The code and sentence of the answer; OK and "" if the call succeeds."""
    try:
        await node.call(method, request, getattr(pb, f"{method}Response"))
    except RpcError as error:
        message = str(error)
        assert "\n" not in message
        assert "\0" not in message
        assert len(message) < 500, method
        return Code(error.code), message
    return Code.OK, ""


@pytest.mark.parametrize("method", [*ABOUT_PODS, *ABOUT_CONTAINERS])
async def test_ids_that_are_none(node: Node, method: str) -> None:
    field = "pod_sandbox_id" if method in ABOUT_PODS else "container_id"
    for wrong, expected in WRONG_IDS.items():
        code, message = await outcome(node, method, getattr(pb, f"{method}Request")(**{field: wrong}))
        if wrong and method.startswith(IDEMPOTENT):
            assert code == Code.OK
            continue
        assert code == expected, message
        assert repr(wrong[:80])[1:-1] in message


def set_field(message: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        message = getattr(message, name)
    field = getattr(message, last)
    if isinstance(value, dict):
        field.update(value)
    elif isinstance(value, list):
        del field[:]
        field.extend(value)
    else:
        setattr(message, last, value)


CONTEXT = "linux.security_context"
OPTIONS = f"{CONTEXT}.namespace_options"
PODS = [
    ("metadata.name", "", "metadata.name"),
    ("metadata.name", "..", "'..' is not a Kubernetes name"),
    ("metadata.name", "a\0b", "not a Kubernetes name"),
    ("metadata.namespace", "a\nb", "not a Kubernetes name"),
    ("metadata.uid", "../../x", "no id of a pod"),
    ("metadata.uid", LONG, "no id of a pod"),
    ("hostname", "a\0b", "not a host name"),
    ("log_directory", "a/b", "not an absolute path"),
    ("log_directory", "/tmp/a\0b", "not an absolute path"),
    ("log_directory", "/etc/passwd/x", "cannot make the log directory /etc/passwd/x: Not a directory"),
    ("log_directory", "/dev/shm/" + "a" * 300, "File name too long"),
    ("dns_config.servers", ["1.1.1.1\0"], "resolv.conf"),
    ("dns_config.searches", ["a\nb"], "resolv.conf"),
    ("port_mappings", [pb.PortMapping(protocol=9, container_port=80, host_port=8080)], "protocol 9 of port 80"),  # type: ignore[arg-type]
    ("linux.cgroup_parent", "/a/../b", "not a clean path"),
    ("linux.cgroup_parent", "/a\0b", "not a clean path"),
    ("linux.sysctls", {"../../x": "1"}, "characters that no sysctl has"),
    ("linux.sysctls", {"kernel.shm_nothing": "1"}, "this kernel has none"),
    (f"{OPTIONS}.network", 77, "network namespace must be POD or NODE"),
    (f"{OPTIONS}.pid", 77, "pid namespace must be"),
    (f"{OPTIONS}.userns_options.mode", 77, "POD or NODE"),
]


@pytest.mark.parametrize(("path", "value", "words"), PODS)
async def test_pods_that_cannot_be(node: Node, path: str, value: object, words: str) -> None:
    config = node.host_network(node.pod_config())
    set_field(config, path, value)
    code, message = await outcome(node, "RunPodSandbox", pb.RunPodSandboxRequest(config=config))
    assert code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION), message
    assert words in message
    assert os.listdir(node.root / "state" / "sandboxes") == []


async def test_a_handler_with_a_long_name(node: Node) -> None:
    request = pb.RunPodSandboxRequest(config=node.pod_config(), runtime_handler=LONG)
    code, message = await outcome(node, "RunPodSandbox", request)
    assert (code, "known are crun, runc" in message) == (Code.INVALID_ARGUMENT, True)


RESOURCES = "linux.resources"
CONTAINERS = [
    ("metadata.name", "a\0b", "not a Kubernetes name"),
    ("image.image", LONG, "cannot find image"),
    ("command", [""], "the command is empty"),
    ("command", ["a\0b"], "NUL"),
    ("working_dir", "/a\0b", "no usable path"),
    ("envs", [pb.KeyValue(key="A=B", value=b"1")], "contains '='"),
    ("log_path", "../x", "leaves the log directory"),
    ("log_path", "a\0b", "log_path contains a NUL"),
    ("mounts", [pb.Mount(container_path="/", host_path="/tmp")], "cannot mount at /"),
    ("mounts", [pb.Mount(container_path="/m", host_path="/etc/passwd/x")], "Not a directory"),
    (
        "mounts",
        [pb.Mount(container_path="/m", host_path="/tmp", uidMappings=[pb.IDMapping()], gidMappings=[pb.IDMapping()])],
        "length 0",
    ),
    ("devices", [pb.Device(host_path="/dev/null", container_path="/dev/x", permissions="xyz")], "'xyz' are not of r"),
    ("devices", [pb.Device(host_path="/dev/null", container_path="x")], "absolute paths"),
    (f"{RESOURCES}.cpu_period", -1, "CPU period -1"),
    (f"{RESOURCES}.cpu_quota", 1, "CPU quota 1"),
    (f"{RESOURCES}.cpu_shares", -1, "CPU shares -1"),
    (f"{RESOURCES}.memory_limit_in_bytes", 1, "memory limit 1"),
    (f"{RESOURCES}.cpuset_cpus", "abc", "the form is 0-3,7"),
    (f"{CONTEXT}.run_as_user.value", -1, "run_as_user -1"),
    (f"{CONTEXT}.supplemental_groups_policy", 9, "policy 9 is not known"),
    (f"{CONTEXT}.capabilities.add_capabilities", ["NOPE"], "there is none of this name"),
    (f"{CONTEXT}.seccomp.profile_type", 77, "seccomp profile of type 77"),
    (f"{CONTEXT}.apparmor.profile_type", 77, "AppArmor profile of type 77"),
    (f"{CONTEXT}.masked_paths", ["a\0b"], "masked path"),
    (f"{CONTEXT}.readonly_paths", ["../x"], "read-only path"),
    (f"{CONTEXT}.namespace_options.pid", pb.TARGET, "target_id is empty"),
    (f"{CONTEXT}.privileged", True, "its pod sandbox is not"),
]


async def test_containers_that_cannot_be(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    for path, value, words in CONTAINERS:
        config = node.container_config(["true"])
        config.linux.security_context.namespace_options.CopyFrom(pod_config.linux.security_context.namespace_options)
        set_field(config, path, value)
        request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        code, message = await outcome(node, "CreateContainer", request)
        assert code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND), (path, value, message)
        assert words in message
    assert os.listdir(node.root / "state" / "containers") == []
    await node.remove_pod(pod)


UPDATES = [
    ("cpu_period", 1, "CPU period 1"),
    ("cpu_quota", 1, "CPU quota 1"),
    ("cpu_shares", -1, "CPU shares -1"),
    ("memory_limit_in_bytes", 1, "more than the limit 1"),
    ("cpuset_cpus", "abc", "the form is 0-3,7"),
    ("cpuset_mems", "\0", "the form is 0-3,7"),
]


async def test_a_running_container(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "600"]), pod_config)
    code, message = await outcome(node, "Attach", pb.AttachRequest(container_id=container, stdout=True))
    assert code == Code.NOT_FOUND
    assert "cannot attach to container" in message
    await node.start_container(container)

    for path, value, words in UPDATES:
        change = pb.UpdateContainerResourcesRequest(container_id=container)
        set_field(change.linux, path, value)
        code, message = await outcome(node, "UpdateContainerResources", change)
        assert (code, words in message) == (Code.INVALID_ARGUMENT, True), message
    for command, words in (([], "the command is empty"), ([""], "the command is empty"), (["true", "a\0b"], "NUL")):
        exec_sync = pb.ExecSyncRequest(container_id=container, cmd=command)
        code, message = await outcome(node, "ExecSync", exec_sync)
        assert (code, words in message) == (Code.INVALID_ARGUMENT, True), message
        exec_ = pb.ExecRequest(container_id=container, cmd=command, stdout=True)
        code, message = await outcome(node, "Exec", exec_)
        assert (code, words in message) == (Code.INVALID_ARGUMENT, True), message
    code, message = await outcome(node, "ExecSync", pb.ExecSyncRequest(container_id=container, cmd=["a"], timeout=-5))
    assert (code, "negative" in message) == (Code.INVALID_ARGUMENT, True)
    code, message = await outcome(node, "Exec", pb.ExecRequest(container_id=container, cmd=["true"]))
    assert (code, "one of stdin, stdout, or stderr" in message) == (Code.INVALID_ARGUMENT, True)
    for port in (-1, 70000):
        code, message = await outcome(node, "PortForward", pb.PortForwardRequest(pod_sandbox_id=pod, port=[port]))
        assert (code, f"port {port}" in message) == (Code.INVALID_ARGUMENT, True)
    assert (await node.exec(container, "true")).exit_code == 0
    await node.remove_pod(pod)
