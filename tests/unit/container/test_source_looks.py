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


def looking() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


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
    asked = mounts(tmp_path, place / "volume")
    looks = SourceLooks(0.2)
    before = looking()
    with hung_file_system(place) as end:
        with pytest.raises(Unavailable, match=r"cannot mount .*/hung/volume: its file system has not answered"):
            await looks.look(asked)
        assert looking() == before + 1
        with pytest.raises(Unavailable, match="still does not answer"):
            await looks.look(asked)
        assert looking() == before + 1
        await looks.look(mounts(tmp_path))
        end()
        async with asyncio.timeout(30):
            while True:
                try:
                    await looks.look(asked)
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)
