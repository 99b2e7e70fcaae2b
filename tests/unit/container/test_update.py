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
