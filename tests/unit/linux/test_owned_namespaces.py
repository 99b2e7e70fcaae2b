"""Namespaces that a pod's user namespace owns, pinned in files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.linux.namespaces import is_pinned, unpin, unshare_directory
from crio.linux.owned_namespaces import are_possible, pin_owned

pytestmark = pytest.mark.root

MAP = [(0, 1_000_000, 65536)]


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[dict[str, str]]:
    found = {kind: str(tmp_path / f"{kind}ns" / "id") for kind in ("user", "net", "ipc", "uts")}
    yield found
    for path in found.values():
        unpin(path)
    if (tmp_path / "netns").exists():
        unshare_directory(str(tmp_path / "netns"))


def inside(paths: dict[str, str], script: str) -> str:
    entered = [f"--{kind}={path}" for kind, path in paths.items()]
    command = ["nsenter", *entered, "-S0", "-G0", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_its_root_owns_network_ipc_and_host_name(paths: dict[str, str]) -> None:
    settings = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "20"}
    pin_owned(paths, MAP, MAP, hostname="inside", sysctls=settings)
    assert inside(paths, "hostname").strip() == "inside"
    assert inside(paths, "cat /proc/self/uid_map").split() == ["0", "1000000", "65536"]
    values = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max"
    assert inside(paths, values).split() == ["1", "1", "20"]
    assert "UP" in inside(paths, "ip link show lo")
    inside(paths, "hostname other && ip link set lo down && echo 0 > /proc/sys/kernel/shm_rmid_forced")


def test_without_network(paths: dict[str, str]) -> None:
    some = {kind: paths[kind] for kind in ("user", "ipc")}
    pin_owned(some, MAP, MAP)
    assert is_pinned(some["user"])
    assert is_pinned(some["ipc"])


def test_what_fails_leaves_nothing(paths: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="no_such_thing"):
        pin_owned(paths, MAP, MAP, hostname="x", sysctls={"net.ipv4.no_such_thing": "1"})
    assert not any(os.path.exists(path) for path in paths.values())


@pytest.mark.parametrize("given", [{"net": "/x"}, {"user": "/x", "pid": "/y"}])
def test_kinds_that_cannot_be_pinned_so(given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        pin_owned(given, MAP, MAP)


def test_settings_of_the_host_are_refused(paths: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=r"kernel\.core_pattern"):
        pin_owned(paths, MAP, MAP, sysctls={"kernel.core_pattern": "x"})
    with pytest.raises(InvalidArgument, match="host name"):
        pin_owned({"user": paths["user"]}, MAP, MAP, hostname="x")


def test_this_kernel_can() -> None:
    assert are_possible()
