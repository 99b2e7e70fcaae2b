from __future__ import annotations

import base64
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen import resources
from crio.linux.caps import NAMES
from crio.spec.oci_runtime import Cpu, Memory, Resources
from spec_input import plain_host

MIB = 1 << 20
V1 = {"cgroup_version": 1, "controllers": frozenset({"cpu", "cpuset", "memory", "pids"})}


def limits(host: dict[str, Any] | None = None, **fields: Any) -> Resources:
    return resources.limits(pb.LinuxContainerResources(**fields), plain_host(**(host or {})), min_memory=12 * MIB)


def test_nothing_asked() -> None:
    assert limits() == Resources()


def test_cpu() -> None:
    made = limits(cpu_shares=100, cpu_quota=-1, cpu_period=100_000, cpuset_cpus="0-1,3", cpuset_mems="0")
    assert made.cpu == Cpu(shares=100, quota=-1, period=100_000, cpus="0-1,3", mems="0")
    resources.drop_unlimited_quota(made)
    assert made.cpu == Cpu(shares=100, quota=None, period=100_000, cpus="0-1,3", mems="0")


@pytest.mark.parametrize("quota", [0, 20_000])
def test_a_quota_that_limits_is_kept(quota: int) -> None:
    made = limits(cpu_quota=quota, cpu_shares=2)
    resources.drop_unlimited_quota(made)
    assert made.cpu == Cpu(shares=2, quota=quota or None)


@pytest.mark.parametrize("text", ["a", "0-", "0;1", "../x", "0,\n1"])
def test_malformed_cpu_list(text: str) -> None:
    with pytest.raises(InvalidArgument):
        limits(cpuset_cpus=text)


@pytest.mark.parametrize(
    ("swap", "counts", "expected"),
    [
        (0, True, 64 * MIB),
        (128 * MIB, True, 128 * MIB),
        (-1, True, -1),
        (128 * MIB, False, None),
    ],
)
def test_memory_and_swap(swap: int, counts: bool, expected: int | None) -> None:
    made = limits({"memory_swap": counts}, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=swap)
    assert made.memory == Memory(limit=64 * MIB, swap=expected)


def test_memory_limits_that_cannot_work() -> None:
    with pytest.raises(InvalidArgument, match="too low"):
        limits(memory_limit_in_bytes=12 * MIB - 1)
    with pytest.raises(InvalidArgument, match="below the memory limit"):
        limits(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=32 * MIB)


def test_hugepages_only_with_their_controller() -> None:
    asked = [pb.HugepageLimit(page_size="2Mi", limit=4 * MIB), pb.HugepageLimit(page_size="1GB", limit=1 << 63)]
    made = limits(hugepage_limits=asked)
    assert [(limit.page_size, limit.limit) for limit in made.hugepage_limits] == [
        ("2MB", 4 * MIB),
        ("1GB", (1 << 63) - 1),
    ]
    assert limits(V1, hugepage_limits=asked).hugepage_limits == []
    with pytest.raises(InvalidArgument):
        limits(hugepage_limits=[pb.HugepageLimit(page_size="../../x")])


def test_missing_controllers_are_passed_over() -> None:
    made = limits({"controllers": frozenset()}, cpu_shares=2, cpuset_cpus="0", memory_limit_in_bytes=64 * MIB)
    assert made == Resources()


def test_unified_is_of_version_2() -> None:
    asked = {"memory.high": "1", "hugetlb.2MB.max": "0"}
    assert limits(unified=asked).unified == asked
    assert limits(V1, unified=asked).unified == {}


@pytest.mark.parametrize("key", ["memory/../x", "../cgroup.procs", "memory", ".high", "a.b/c", "a b.c", ""])
def test_unified_keys_are_names_of_files(key: str) -> None:
    """CVE-2023-6476: they become paths in the runtime."""
    with pytest.raises(InvalidArgument):
        limits(unified={key: "1"})


def test_unified_annotation() -> None:
    made = Resources()
    value = base64.b64encode(b"1024").decode()
    resources.add_unified_annotation(made, {"unified-cgroup.crio.io/app": f"memory.high={value};pids.max=max;"}, "app")
    assert made.unified == {"memory.high": "1024", "pids.max": "max"}
    resources.add_unified_annotation(made, {"unified-cgroup.crio.io/other": "memory.low=1"}, "app")
    assert len(made.unified) == 2
    with pytest.raises(InvalidArgument):
        resources.add_unified_annotation(made, {"unified-cgroup.crio.io/app": "nonsense"}, "app")


def test_pids() -> None:
    made = Resources()
    resources.set_pids_limit(made, -1, plain_host())
    assert made.pids is None
    resources.set_pids_limit(made, 5, plain_host(controllers=frozenset()))
    assert made.pids is None
    resources.set_pids_limit(made, 5, plain_host())
    assert made.pids is not None
    assert made.pids.limit == 5


def test_oom_score_is_kept_within_what_the_daemon_may_set() -> None:
    weak = plain_host(capabilities=frozenset(NAMES) - {"CAP_SYS_RESOURCE"}, oom_score_adj=-10)
    assert resources.oom_score_adj(-997, weak) == -10
    assert resources.oom_score_adj(500, weak) == 500
    assert resources.oom_score_adj(-997, plain_host()) == -997
    assert resources.oom_score_adj(-5000, plain_host()) == -1000


@pytest.mark.parametrize("period", [-1, 999, 1_000_001])
def test_periods_that_the_kernel_has_not(period: int) -> None:
    with pytest.raises(InvalidArgument, match="CPU period"):
        limits(cpu_period=period)


def test_quotas_and_shares_that_the_kernel_has_not() -> None:
    with pytest.raises(InvalidArgument, match="CPU quota 999"):
        limits(cpu_quota=999)
    with pytest.raises(InvalidArgument, match="CPU shares -1"):
        limits(cpu_shares=-1)
