from __future__ import annotations

from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.container.specgen.namespaces import namespaces

POD = {"net": "/run/netns/1", "ipc": "/run/ipcns/1", "uts": "/run/utsns/1"}


def made(
    mode: int, pod: dict[str, str] | None = None, *, target: str = "", version: int = 1, privileged: bool = False
) -> dict[str, str]:
    options: dict[str, Any] = {"pid": mode}
    found = namespaces(
        pb.NamespaceOption(**options),
        POD if pod is None else pod,
        target_pid=target,
        cgroup_version=version,
        privileged=privileged,
    )
    return {namespace.type: namespace.path for namespace in found}


def test_joined_and_own() -> None:
    assert made(pb.CONTAINER) == {
        "mount": "",
        "network": "/run/netns/1",
        "ipc": "/run/ipcns/1",
        "uts": "/run/utsns/1",
        "pid": "",
    }


def test_modes_of_pid() -> None:
    assert "pid" not in made(pb.NODE)
    assert made(pb.POD, {**POD, "pid": "/proc/1/ns/pid"})["pid"] == "/proc/1/ns/pid"
    assert made(pb.TARGET, target="/proc/9/ns/pid")["pid"] == "/proc/9/ns/pid"
    for mode in (pb.POD, pb.TARGET):
        with pytest.raises(FailedPrecondition):
            made(mode)
    with pytest.raises(InvalidArgument):
        made(9)


def test_host_namespaces_are_left_out() -> None:
    assert made(pb.NODE, {}) == {"mount": ""}


def test_user_and_cgroup() -> None:
    assert made(pb.CONTAINER, {"user": "/run/userns/1"})["user"] == "/run/userns/1"
    assert made(pb.CONTAINER, version=2)["cgroup"] == ""
    assert "cgroup" not in made(pb.CONTAINER, version=2, privileged=True)
