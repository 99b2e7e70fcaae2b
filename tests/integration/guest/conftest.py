"""Tests of what only a machine with systemd and control groups version 2 has; `./dev vm test` boots one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HAS_ALL = os.path.isdir("/run/systemd/system") and os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not HAS_ALL:
        for item in items:
            if item.path.parent == HERE:
                item.add_marker(pytest.mark.skip(reason="needs systemd and cgroup v2: ./dev vm test"))
