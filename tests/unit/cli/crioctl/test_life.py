from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from fake_cri import FakeCri

Crioctl = Any
POD, OLD_POD = "1a" * 32, "1b" * 32
WEB, SIDECAR, DONE = "2c" * 32, "2d" * 32, "3e" * 32


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    pod, container = tmp_path / "pod.json", tmp_path / "container.yaml"
    pod.write_text(json.dumps({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "log_directory": "/l"}))
    container.write_text("metadata: {name: c}\nimage: {image: busybox}\nmounts: [{image: {image: volume}}]\n")
    return str(container), str(pod)


def test_runp(cri: FakeCri, crioctl: Crioctl, files: tuple[str, str]) -> None:
    result = crioctl("runp", "--runtime", "kata", files[1])
    assert result.out == "a0" * 32 + "\n"
    (request,) = cri.requests("RunPodSandbox")
    assert request.runtime_handler == "kata"
    assert request.config.log_directory == "/l"
    assert request.config.metadata == pb.PodSandboxMetadata(name="p", namespace="n", uid="u")


def test_create_and_start(cri: FakeCri, crioctl: Crioctl, files: tuple[str, str]) -> None:
    cri.add_pod(POD, "shop")
    created = crioctl("create", "shop", *files).out.strip()
    (request,) = cri.requests("CreateContainer")
    assert request.pod_sandbox_id == POD
    assert request.config.image.image == "busybox"
    assert request.sandbox_config.metadata.name == "p"
    assert crioctl("start", created[:6]).out == created + "\n"
    again = crioctl("start", created)
    assert (again.code, again.err) == (1, "crioctl: cannot start container c: it is not in the state created\n")


def test_create_with_pull(cri: FakeCri, crioctl: Crioctl, files: tuple[str, str]) -> None:
    cri.add_pod(POD, "shop")
    cri.answers["Pull"] = [control_pb2.PullProgress(image_id="sha256:1")]
    assert crioctl("create", "--with-pull", "--creds", "me:secret", "shop", *files).code == 0
    pulls = cri.requests("Pull")
    assert [(each.image, each.username, each.password, each.namespace) for each in pulls] == [
        ("busybox", "me", "secret", "n"),
        ("volume", "me", "secret", "n"),
    ]


def test_run_pulls_unless_told_otherwise(cri: FakeCri, crioctl: Crioctl, files: tuple[str, str]) -> None:
    cri.answers["Pull"] = [control_pb2.PullProgress(image_id="sha256:1")]
    assert crioctl("run", *files).out == "c0" * 32 + "\n"
    assert [name for name, _ in cri.calls] == ["RunPodSandbox", "Pull", "Pull", "CreateContainer", "StartContainer"]
    cri.calls.clear()
    assert crioctl("run", "--no-pull", *files).code == 0
    assert [name for name, _ in cri.calls] == ["RunPodSandbox", "CreateContainer", "StartContainer"]


def test_run_that_fails_says_what_stays(cri: FakeCri, crioctl: Crioctl, files: tuple[str, str]) -> None:
    cri.answers["CreateContainer"] = InvalidArgument("cannot create container c: no such image")
    result = crioctl("run", "--no-pull", *files)
    assert result.code == 1
    assert result.err == (
        f"crioctl: the pod {'a0' * 32} stays; `crioctl rmp -f a0a0a0a0a0a0a` removes it\n"
        "crioctl: cannot create container c: no such image\n"
    )
    assert crioctl("run", "--no-pull", "--rm-on-failure", *files).code == 1
    assert cri.requests("RemovePodSandbox")[0].pod_sandbox_id == "a1" * 32


def test_stop_with_a_timeout(node: FakeCri, crioctl: Crioctl) -> None:
    crioctl("stop", "-t", "7", "web")
    assert node.requests("StopContainer") == [pb.StopContainerRequest(container_id=WEB, timeout=7)]


def test_stop_all_running(node: FakeCri, crioctl: Crioctl) -> None:
    assert set(crioctl("stop", "--all").out.split()) == {WEB, SIDECAR}
    assert crioctl("stop", "--all").out == "No running containers found.\n"
    assert crioctl("stop").code == 1
    assert crioctl("stop", "--all", "web").code == 1


def test_rm_wants_force_for_running_ones(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("rm", "web")
    assert (result.code, result.err) == (
        1,
        "crioctl: cannot remove container web: it runs; stop it first, or say --force\n",
    )
    assert crioctl("rm", "-f", "web").out == WEB + "\n"
    assert WEB not in node.containers


def test_rm_removes_logs_with_their_rotations(node: FakeCri, crioctl: Crioctl, tmp_path: Path) -> None:
    for name in ("0.log", "0.log.1", "0.log.2.gz", "1.log"):
        (tmp_path / name).write_text("")
    for container in (DONE, WEB):
        node.containers[container][1].log_path = str(tmp_path / ("0.log" if container == DONE else "1.log"))
    assert crioctl("rm", "once").code == 0
    assert crioctl("rm", "-fk", "web").code == 0
    assert sorted(path.name for path in tmp_path.glob("*.log*")) == ["1.log"]


def test_rm_all_goes_on_after_a_failure(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("rm", "--all")
    assert result.code == 1
    assert result.err.count("it runs; stop it first") == 2
    assert result.err.count("\n") == 1
    assert list(node.containers) == [WEB, SIDECAR]


def test_rmp(node: FakeCri, crioctl: Crioctl) -> None:
    assert "cannot remove pod shop: it runs" in crioctl("rmp", "shop").err
    assert crioctl("rmp", "job").out == f"Removed sandbox {OLD_POD}\n"
    assert crioctl("rmp", "-fa").out == f"Stopped sandbox {POD}\nRemoved sandbox {POD}\n"
    assert crioctl("rmp", "-a").out == "No pods to remove\n"
    assert crioctl("rmp").code == 1


def test_update(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["UpdateContainerResources"] = pb.UpdateContainerResourcesResponse()
    assert (
        crioctl("update", "--cpu-share", "512", "--memory", "1000000", "--cpuset-cpus", "0-1", "web").out == WEB + "\n"
    )
    (request,) = node.requests("UpdateContainerResources")
    assert request.linux == pb.LinuxContainerResources(cpu_shares=512, memory_limit_in_bytes=1000000, cpuset_cpus="0-1")


def test_exec_sync(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["ExecSync"] = pb.ExecSyncResponse(stdout=b"out\n", stderr=b"err\xff", exit_code=5)
    code = crioctl("exec", "-s", "--timeout", "3", "web", "ls", "-l", "--sync")
    assert (code.code, code.out) == (5, "out\n")
    assert node.requests("ExecSync") == [
        pb.ExecSyncRequest(container_id=WEB, cmd=["ls", "-l", "--sync"], timeout=3),
    ]


def test_exec_in_all_that_pass_a_filter(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["ExecSync"] = pb.ExecSyncResponse(stdout=b"x\n")
    result = crioctl("exec", "-s", "--pod", "shop", "true")
    assert result.out == f"{SIDECAR}:\nx\n{WEB}:\nx\n"  # the newest first
    assert crioctl("exec", "-sq", "--name", "web", "true").out == "x\n"
    assert crioctl("exec", "-s", "--name", "zzz", "true").code == 1


@pytest.mark.parametrize("words", [[], ["web"], ["-t", "web", "sh"], ["-s"]])
def test_exec_used_wrongly(node: FakeCri, crioctl: Crioctl, words: list[str]) -> None:
    result = crioctl("exec", *words)
    assert result.code == 1
    assert result.err.startswith("crioctl: cannot ")


def test_checkpoint_gets_an_absolute_path(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["CheckpointContainer"] = pb.CheckpointContainerResponse()
    assert crioctl("checkpoint", "--export", "c.tar", "web").code == 0
    assert node.requests("CheckpointContainer")[0].location == os.path.abspath("c.tar")


def test_a_method_that_the_runtime_does_not_have(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("update", "--memory", "1", "web")
    assert result.code == 1
    assert result.err.startswith("crioctl: ")
    assert result.err.count("\n") == 1
