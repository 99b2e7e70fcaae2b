"""A node per test, on a tmpfs, with the runtime that the test asks for."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cgroup_hybrid import crun_cgroups
from images import busybox_layout
from node import SCRATCH, Node, running


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An OCI layout with the busybox image."""
    return busybox_layout(str(tmp_path_factory.mktemp("layout")))


@pytest.fixture(scope="session", autouse=True)
def _crun_can_run() -> Iterator[None]:
    with crun_cgroups():
        yield


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory on a tmpfs, short enough for socket paths."""
    path = SCRATCH / f"crio-test-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=["crun", "runc"])
async def node(request: pytest.FixtureRequest, scratch: Path, layout: str) -> AsyncIterator[Node]:
    """A running daemon with the busybox image in its store."""
    async with running(Node(scratch / "node", runtime=request.param), layout) as node:
        yield node
