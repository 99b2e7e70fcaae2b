"""The daemon to attack: the one of --cri-socket, or one of this project, started for the run."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cgroup_hybrid import crun_cgroups
from crio.linux.cgroup import detect
from cve.registry import Registry
from cve.target import Shared, Target, clean_up
from node import Node

SOCKET = "CRIO_CVE_SOCKET"
"""The endpoint of another daemon to attack: what `./dev cve SOCKET` sets."""
PORT = "CRIO_CVE_PORT"
"""The registry's port, where the daemon has to be told that it is insecure."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    directory = Path("/dev/shm") / f"crio-cve-{secrets.token_hex(4)}"
    directory.mkdir(mode=0o755)
    registry = Registry(int(os.environ.get(PORT, "0")))
    try:
        if endpoint := os.environ.get(SOCKET, ""):
            yield from _attacked(Shared(endpoint, registry, directory, own=False))
        else:
            with crun_cgroups():
                node = Node(directory / "node")
                text = f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
                (node.root / "registries.conf").write_text(text)
                try:
                    asyncio.run(_start(node))
                    yield from _attacked(Shared(node.endpoint, registry, directory, own=True))
                    assert asyncio.run(node.stop()) == 0
                finally:
                    if node.process is not None and node.process.poll() is None:
                        node.kill()
                    node.remove_files()
    finally:
        registry.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _start(node: Node) -> None:
    await node.start()
    await node.close_client()


def _attacked(shared: Shared) -> Iterator[Shared]:
    try:
        yield shared
    finally:
        try:
            asyncio.run(clean_up(shared))
        finally:
            groups = detect()
            groups.kill(shared.parent, timeout=60)
            groups.remove(shared.parent, timeout=60)


@pytest.fixture
async def target(shared: Shared) -> AsyncIterator[Target]:
    """The daemon; after the attack it must still answer."""
    target = Target(shared)
    yield target
    try:
        assert await target.alive()
    finally:
        await target.client.close()


@pytest.fixture
def canary(shared: Shared) -> Iterator[Path]:
    """A directory of the host with a secret in it; an attack must neither read nor change it."""
    path = shared.directory / f"canary-{secrets.token_hex(4)}"
    path.mkdir()
    (path / "secret").write_text("the-secret-of-the-host\n")
    (path / "secret").chmod(0o600)
    before = _look(path)
    yield path
    assert _look(path) == before, "the attack has changed files of the host"


def _look(path: Path) -> list[tuple[str, int, int, bytes, list[str]]]:
    found = []
    for each in (path, *sorted(path.rglob("*"))):
        facts = each.lstat()
        content = each.read_bytes() if each.is_file() and not each.is_symlink() else b""
        found.append((str(each), facts.st_mode, facts.st_uid, content, os.listxattr(each, follow_symlinks=False)))
    return found
