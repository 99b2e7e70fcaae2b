from __future__ import annotations

import logging
import resource

import pytest

from crio.linux import caps
from crio.security.host import RLIMITS, gather


def test_facts_are_those_of_this_process(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        facts = gather()
    own = caps.of_process()
    assert facts.capabilities == own.permitted & own.bounding
    assert facts.rlimits["RLIMIT_NOFILE"] == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert facts.cgroup_version in (1, 2)
    assert "memory" in facts.controllers
    assert "errno" in facts.seccomp_actions
    assert facts.may_raise_limits == ("CAP_SYS_RESOURCE" in own.permitted)
    lacks = set(facts.known_capabilities) - facts.capabilities
    assert bool(lacks) == bool([line for line in caplog.messages if "this daemon lacks" in line])


def test_masked_paths_include_the_side_channels() -> None:
    """GHSA-7ww5-4wqc-m92c: power counters tell what other pods compute."""
    masked = gather().masked_paths
    assert "/sys/devices/virtual/powercap" in masked
    assert "/proc/kcore" in masked


def test_limits_are_named_as_in_the_specification() -> None:
    assert RLIMITS["RLIMIT_NOFILE"] == resource.RLIMIT_NOFILE
    assert len(RLIMITS) == 16
