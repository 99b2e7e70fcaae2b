"""What a pod's request asks for, and what it may not ask for."""

from __future__ import annotations

import os

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.sandbox.plan import hostname, plan_namespaces, sysctls
from crio.spec.oci_runtime import IdMapping

ID = "ab" * 32


def options(**modes: int) -> pb.NamespaceOption:
    return pb.NamespaceOption(**modes)  # type: ignore[arg-type]


def config(**values: str) -> pb.PodSandboxConfig:
    return pb.PodSandboxConfig(linux=pb.LinuxPodSandboxConfig(sysctls=values))


def test_namespaces_of_an_ordinary_pod() -> None:
    assert plan_namespaces(options(pid=pb.CONTAINER), ID, "/run") == {
        "net": f"/run/netns/{ID}",
        "uts": f"/run/utsns/{ID}",
        "ipc": f"/run/ipcns/{ID}",
    }


def test_namespaces_shared_with_the_host_are_not_made() -> None:
    assert list(plan_namespaces(options(network=pb.NODE), ID, "/run")) == ["ipc"]
    assert list(plan_namespaces(options(ipc=pb.NODE), ID, "/run")) == ["net", "uts"]
    assert plan_namespaces(options(network=pb.NODE, ipc=pb.NODE, pid=pb.NODE), ID, "/run") == {}


@pytest.mark.parametrize("modes", [{"network": pb.CONTAINER}, {"ipc": pb.TARGET}, {"pid": pb.TARGET}])
def test_modes_that_a_pod_cannot_have(modes: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument):
        plan_namespaces(options(**modes), ID, "/run")


def test_a_user_namespace_comes_first() -> None:
    planned = plan_namespaces(options(network=pb.NODE), ID, "/run", user=True)
    assert list(planned.items()) == [("user", f"/run/userns/{ID}"), ("ipc", f"/run/ipcns/{ID}")]


@pytest.mark.parametrize(
    ("asked", "written"),
    [("0 2147483647", "1000 1099"), ("5 5", "1005 1005"), ("200 300", "1099 1099"), ("1 0", "1001 1000")],
)
def test_groups_that_may_ping_are_those_of_the_user_namespace(asked: str, written: str) -> None:
    name = "net.ipv4.ping_group_range"
    mappings = [IdMapping(0, 1000, 100)]
    assert sysctls(config(**{name: asked}), [], {"net": "/a"}, mappings) == {name: written}
    assert sysctls(config(**{name: asked}), [], {"net": "/a"}) == {name: asked}
    with pytest.raises(InvalidArgument, match="no range of groups"):
        sysctls(config(**{name: "x"}), [], {"net": "/a"}, mappings)


def test_hostnames() -> None:
    def short(full: str) -> str:
        return full[:4]

    assert hostname(pb.PodSandboxConfig(hostname="web"), ID, short) == "web"
    assert hostname(pb.PodSandboxConfig(), ID, short) == "abab"
    host = pb.PodSandboxConfig(hostname="web")
    host.linux.security_context.namespace_options.network = pb.NODE
    assert hostname(host, ID, short) == os.uname().nodename


def test_sysctls_of_the_pod_go_over_the_defaults() -> None:
    kinds = {"net": "/a", "ipc": "/b"}
    wanted = config(**{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"})
    assert sysctls(wanted, ["net.ipv4.ip_forward=0", "kernel.sem = 1 2 3 4"], kinds) == {
        "net.ipv4.ip_forward": "1",
        "kernel.sem": "1 2 3 4",
        "kernel.shm_rmid_forced": "1",
    }


def test_a_default_for_a_namespace_of_the_host_is_left_out() -> None:
    assert sysctls(config(), ["net.ipv4.ip_forward=0"], {"ipc": "/b"}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "|/bin/sh"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=x"),
        ("net/../kernel/core_pattern", "x"),
        ("net.ipv4..ip_forward", "1"),
        ("vm.swappiness", "1"),
        ("kernel.hostname", "x"),
        ("", "1"),
    ],
)
def test_cve_2022_0811_and_what_is_not_namespaced(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot set sysctl"):
        sysctls(config(**{name: value}), [], {"net": "/a", "ipc": "/b", "uts": "/c"})


def test_cve_2022_0532_sysctl_with_the_hosts_namespace() -> None:
    with pytest.raises(InvalidArgument, match="shares the net namespace with the host"):
        sysctls(config(**{"net.ipv4.ip_forward": "1"}), [], {"ipc": "/b"})
