from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crio.network.watch import DirectoryWatcher


class Changes:
    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def happened(self) -> None:
        self.count += 1
        self._event.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self._event.wait(), 60)
        self._event.clear()

    async def none(self) -> None:
        await asyncio.sleep(0.15)
        assert not self._event.is_set()


@asynccontextmanager
async def _watching(*paths: Path) -> AsyncIterator[Changes]:
    changes = Changes()
    watcher = DirectoryWatcher([str(path) for path in paths], changes.happened, settle=0.02)
    watcher.start()
    try:
        yield changes
    finally:
        watcher.stop()


async def test_every_kind_of_change_is_seen(tmp_path: Path) -> None:
    async with _watching(tmp_path) as changes:
        (tmp_path / "a").write_text("1")
        await changes.wait()
        (tmp_path / "a").write_text("2")
        await changes.wait()
        os.rename(tmp_path / "a", tmp_path / "b")
        await changes.wait()
        (tmp_path / "b").chmod(0o755)
        await changes.wait()
        (tmp_path / "b").unlink()
        await changes.wait()
        await changes.none()


async def test_a_burst_is_one_change(tmp_path: Path) -> None:
    async with _watching(tmp_path) as changes:
        for index in range(200):
            (tmp_path / str(index)).write_text("")
        await changes.wait()
        await changes.none()
        assert changes.count < 10


async def test_a_directory_may_come_later(tmp_path: Path) -> None:
    wanted = tmp_path / "etc" / "cni" / "net.d"
    async with _watching(wanted) as changes:
        (tmp_path / "other").mkdir()
        await changes.none()
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "cni").mkdir()
        wanted.mkdir()
        await changes.wait()
        (wanted / "10.conflist").write_text("{}")
        await changes.wait()


async def test_a_directory_may_go_and_come_again(tmp_path: Path) -> None:
    wanted = tmp_path / "cni" / "net.d"
    wanted.mkdir(parents=True)
    async with _watching(wanted) as changes:
        for _ in range(3):
            shutil.rmtree(tmp_path / "cni")
            await changes.wait()
            wanted.mkdir(parents=True)
            await changes.wait()
            (wanted / "10.conflist").write_text("{}")
            await changes.wait()
            await asyncio.sleep(0.05)


async def test_another_directory_in_its_place_is_followed(tmp_path: Path) -> None:
    wanted, other = tmp_path / "net.d", tmp_path / "other"
    wanted.mkdir()
    other.mkdir()
    async with _watching(wanted) as changes:
        os.rename(wanted, tmp_path / "old")
        os.rename(other, wanted)
        await changes.wait()
        await asyncio.sleep(0.05)
        (wanted / "10.conflist").write_text("{}")
        await changes.wait()
        await asyncio.sleep(0.05)
        (tmp_path / "old" / "x").write_text("")
        await changes.none()


async def test_two_directories_below_one_that_is_missing(tmp_path: Path) -> None:
    one, two = tmp_path / "opt" / "one", tmp_path / "opt" / "two"
    async with _watching(one, two) as changes:
        one.mkdir(parents=True)
        await changes.wait()
        two.mkdir()
        await changes.wait()
        (two / "bridge").write_text("")
        await changes.wait()
        (one / "bridge").write_text("")
        await changes.wait()
