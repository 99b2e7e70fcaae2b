"""A zygote, and containers of busybox under its monitors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from monitor_bed import Bed, container_cgroups, monitor_bed
from oci_bundle import make_rootfs


@pytest.fixture(scope="session")
def cgroups() -> Iterator[str]:
    """A cgroup path for containers."""
    with container_cgroups() as path:
        yield path


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_rootfs(str(tmp_path_factory.mktemp("rootfs") / "root"))


@pytest.fixture
async def bed(rootfs: str, cgroups: str) -> AsyncIterator[Bed]:
    async with monitor_bed(rootfs, cgroups) as bed:
        yield bed
