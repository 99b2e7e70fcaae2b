"""Volumes whose file systems answer, and one whose does not."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Unavailable
from crio.container.source_looks import THREAD, SourceLooks
from hung_volume import hung_file_system


async def until_looking(number: int) -> None:
    """Wait until so many threads look: one that is done goes a moment later."""
    async with asyncio.timeout(30):
        while sum(thread.name == THREAD for thread in threading.enumerate()) != number:
            await asyncio.sleep(0.01)


async def until_answered(looks: SourceLooks, asked: list[pb.Mount]) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await looks.look(asked)
            except Unavailable:
                await asyncio.sleep(0.01)


def mounts(*paths: Path | str) -> list[pb.Mount]:
    return [pb.Mount(container_path="/x", host_path=str(path)) for path in paths]


async def test_what_answers_is_looked_at_and_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    looks = SourceLooks()
    await looks.look(mounts())
    await looks.look(mounts("", tmp_path, tmp_path / "none" / "there", tmp_path / "file" / "x", "/a\0b"))
    await looks.look(mounts("/"), prefix=str(tmp_path))


@pytest.mark.root
async def test_what_does_not_answer_is_told_and_not_asked_again_until_it_does(tmp_path: Path) -> None:
    place = tmp_path / "hung"
    place.mkdir()
    asked = mounts(place / "volume", tmp_path)
    looks = SourceLooks(0.2)
    await until_looking(0)
    with hung_file_system(place) as end:
        with pytest.raises(Unavailable, match=r"cannot mount .*/hung/volume: its file system has not answered"):
            await looks.look(asked)
        await until_looking(1)
        with pytest.raises(Unavailable, match="still does not answer"):
            await looks.look(asked)
        await until_looking(1)
        await until_answered(looks, mounts(tmp_path))
        end()
        await until_answered(looks, asked)
