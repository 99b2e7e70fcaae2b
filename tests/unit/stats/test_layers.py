"""Sizes of writable layers, of a store that is a folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.executor import Executor
from crio.stats import layers as layers_module
from crio.stats.layers import Layers
from crio.storage.store import Store
from crio.storage.usage import Usage, measure


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.options = SimpleNamespace(graphroot=str(root))
        self.looks = 0
        self.gate = threading.Event()
        self.gate.set()

    def container_usage(self, id: str) -> Usage:
        self.gate.wait(60)
        self.looks += 1
        return measure(str(self.root / id))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "a").mkdir()
    return Folder(tmp_path)


@pytest.fixture
async def layers(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Layers]:
    monkeypatch.setattr(layers_module, "_PATIENCE", 60.0)
    executor = Executor("test", 1)
    store: Any = folder
    layers = Layers(cast(Store, store), executor)
    yield layers
    folder.gate.set()
    await layers.close()
    executor.close()


def inodes(layers: Layers, id: str) -> int:
    return pb.ContainerStats.FromString(layers.part(id)).writable_layer.inodes_used.value


async def test_the_first_size_is_waited_for_and_a_young_one_told_again(layers: Layers, folder: Folder) -> None:
    await layers.measure(["a", "gone"])
    assert inodes(layers, "a") == 1
    assert layers.part("gone") == b""
    (folder.root / "a" / "file").touch()
    await layers.measure(["a"])
    assert inodes(layers, "a") == 1


async def test_an_old_size_is_told_until_there_is_a_new_one(
    layers: Layers, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await layers.measure(["a"])
    monkeypatch.setattr(layers_module, "MAX_AGE", -1.0)
    (folder.root / "a" / "file").touch()
    folder.gate.clear()
    await layers.measure(["a"])
    assert inodes(layers, "a") == 1
    folder.gate.set()
    async with asyncio.timeout(60):
        while inodes(layers, "a") == 1:
            await asyncio.sleep(0.01)
    (folder.root / "a" / "other").touch()
    await layers.measure(["a"], fresh=True)
    assert inodes(layers, "a") == 3


async def test_what_is_gone_is_forgotten_when_it_is_much(layers: Layers, folder: Folder) -> None:
    names = [f"c{number}" for number in range(20)]
    for name in names:
        (folder.root / name).mkdir()
    await layers.measure(names)
    layers.keep_only({"c0"})
    assert layers.part("c0") != b""
    assert layers.part("c1") == b""


async def test_a_new_size_is_not_waited_for_long(
    layers: Layers, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_module, "_PATIENCE", 0.01)
    folder.gate.clear()
    await layers.measure(["a"])
    assert layers.part("a") == b""
    assert layers.usage("a") is None
    # Whoever asks meanwhile waits no more, and has nobody look a second time.
    await layers.measure(["a"])
    folder.gate.set()
    async with asyncio.timeout(60):
        while not layers.part("a"):
            await asyncio.sleep(0.01)
    assert inodes(layers, "a") == 1
    assert layers.usage("a") == measure(str(folder.root / "a"))
    assert folder.looks == 1


async def test_one_that_is_not_there_is_looked_for_no_more(layers: Layers, folder: Folder) -> None:
    for _ in range(2):
        await layers.measure(["gone"])
    assert folder.looks == 1
