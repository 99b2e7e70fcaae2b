"""Changes of limits: what the runtime is told, and what is in force afterwards."""

from __future__ import annotations

import json

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.update import Update, plan_update
from crio.security.host import HostFacts

CURRENT = pb.LinuxContainerResources(
    cpu_shares=512, memory_limit_in_bytes=64 << 20, memory_swap_limit_in_bytes=64 << 20
)


def change(memory_usage: int | None = None, **fields: int | str) -> Update:
    asked = pb.LinuxContainerResources(**fields)  # type: ignore[arg-type]
    return plan_update("app", CURRENT, asked, HostFacts(), min_memory=12 << 20, memory_usage=memory_usage)


def test_a_quota_that_the_runtime_cannot_lift() -> None:
    asked = pb.LinuxContainerResources(cpu_quota=-1, cpu_shares=100)
    own = plan_update("app", CURRENT, asked, HostFacts(), min_memory=0, memory_usage=None, runtime_lifts_quota=False)
    assert own.lifts_cpu_quota
    assert json.loads(own.document) == {"cpu": {"shares": 100}}
    assert own.resources.cpu_quota == -1
    assert json.loads(change(cpu_quota=-1).document) == {"cpu": {"quota": -1}}
    assert not change(cpu_quota=-1).lifts_cpu_quota


def test_only_what_is_given_changes() -> None:
    update = change(cpu_quota=50000)
    assert json.loads(update.document) == {"cpu": {"quota": 50000}}
    assert update.resources.cpu_quota == 50000
    assert update.resources.cpu_shares == 512
    assert update.resources.memory_limit_in_bytes == 64 << 20


def test_swap_moves_with_memory() -> None:
    update = change(memory_limit_in_bytes=128 << 20)
    assert json.loads(update.document)["memory"] == {"limit": 128 << 20, "swap": 128 << 20}
    assert update.resources.memory_swap_limit_in_bytes == 128 << 20


def test_a_container_without_swap_gets_none_by_a_change_of_its_memory() -> None:
    lower = change(memory_limit_in_bytes=32 << 20)
    assert json.loads(lower.document)["memory"] == {"limit": 32 << 20, "swap": 32 << 20}


@pytest.mark.parametrize(("swap", "expected"), [(-1, -1), (256 << 20, 256 << 20), (96 << 20, 128 << 20)])
def test_swap_of_its_own_stays(swap: int, expected: int) -> None:
    current = pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20, memory_swap_limit_in_bytes=swap)
    asked = pb.LinuxContainerResources(memory_limit_in_bytes=128 << 20)
    update = plan_update("app", current, asked, HostFacts(), min_memory=0, memory_usage=None)
    assert json.loads(update.document)["memory"] == {"limit": 128 << 20, "swap": expected}


def test_swap_alone() -> None:
    update = change(memory_swap_limit_in_bytes=96 << 20)
    assert json.loads(update.document)["memory"] == {"limit": 64 << 20, "swap": 96 << 20}
    assert update.resources.memory_swap_limit_in_bytes == 96 << 20
    asked = pb.LinuxContainerResources(memory_swap_limit_in_bytes=1 << 30)
    with pytest.raises(InvalidArgument, match="needs a memory limit"):
        plan_update("app", pb.LinuxContainerResources(), asked, HostFacts(), min_memory=0, memory_usage=None)


def test_huge_pages_of_one_size() -> None:
    current, asked = pb.LinuxContainerResources(), pb.LinuxContainerResources()
    for size, limit in (("2MB", 4), ("1GB", 8)):
        current.hugepage_limits.add(page_size=size, limit=limit)
    asked.hugepage_limits.add(page_size="2Mi", limit=6)
    update = plan_update("app", current, asked, HostFacts(), min_memory=0, memory_usage=None)
    assert [(limit.page_size, limit.limit) for limit in update.resources.hugepage_limits] == [("2Mi", 6), ("1GB", 8)]
    assert json.loads(update.document)["hugepageLimits"] == [{"pageSize": "2MB", "limit": 6}]


def test_a_limit_below_the_use_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="uses 52428800 bytes"):
        change(memory_usage=50 << 20, memory_limit_in_bytes=40 << 20)
    with pytest.raises(InvalidArgument, match="too low"):
        change(memory_limit_in_bytes=1 << 20)


def test_the_current_limits_are_not_touched() -> None:
    before = pb.LinuxContainerResources()
    before.CopyFrom(CURRENT)
    change(cpu_shares=2)
    assert before == CURRENT
