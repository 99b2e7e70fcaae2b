"""Progress of pulls on its way to a client that is slower than it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from crio.api.crio.v1 import control_pb2 as pb
from crio.base.errors import NotFound
from crio.daemon import control
from crio.image.progress import LayerProgress, LayerState
from crio.image.pulls import OnProgress, PullProgress
from crio.image.records import ImageInfo


def layer(digest: str, done: int, state: LayerState = LayerState.FETCHING) -> LayerProgress:
    return LayerProgress(digest, 100, done, state)


def image(number: int) -> ImageInfo:
    return ImageInfo(
        id=f"{number:02x}" * 32,
        names=(f"q.io/a:{number}",),
        repo_digests=(),
        digest="",
        size=1,
        created="",
        pinned=False,
        read=lambda key: b"",
        config_key=lambda: "",
    )


async def test_updates_between_two_messages_are_one() -> None:
    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        tell(PullProgress([layer("a", 1), layer("b", 1)], "fetch"))
        tell(PullProgress([layer("a", 2)], ""))
        tell(PullProgress([layer("a", 100, LayerState.DONE)], ""))
        await asyncio.sleep(0.01)
        return [image(1)]

    first, last = [message async for message in control._progress(work)]
    assert first.stage == "fetch"
    assert {item.digest: (item.done, item.state) for item in first.layers} == {"a": (100, "done"), "b": (1, "fetching")}
    assert (last.image_id, list(last.names)) == ("01" * 32, ["q.io/a:1"])


async def test_a_slow_client_gets_the_latest_and_what_was_told_is_not_repeated() -> None:
    go = asyncio.Event()
    told = asyncio.Event()

    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        tell(PullProgress([layer("a", 1)], "fetch"))
        await go.wait()
        for done in range(2, 50):
            tell(PullProgress([layer("b", done)], ""))
            await asyncio.sleep(0)
        told.set()
        await asyncio.sleep(0.01)
        return [image(1), image(2)]

    stream = control._progress(work)
    first = await anext(stream)
    go.set()
    await told.wait()
    second = await anext(stream)
    rest = [message async for message in stream]
    assert [item.digest for item in first.layers] == ["a"]
    assert [(item.digest, item.done) for item in second.layers] == [("b", 49)]
    assert second.stage == ""
    assert [message.image_id for message in rest] == ["01" * 32, "02" * 32]


async def test_what_is_here_already_has_no_progress() -> None:
    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        return [image(1)]

    messages = [message async for message in control._progress(work)]
    assert messages == [pb.PullProgress(image_id="01" * 32, names=["q.io/a:1"])]


async def test_progress_just_before_the_end_is_told() -> None:
    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        tell(PullProgress([layer("a", 1)], "fetch"))
        await asyncio.sleep(0)
        tell(PullProgress([layer("a", 100, LayerState.DONE)], "commit"))
        return [image(1)]

    messages = []
    async for message in control._progress(work):
        messages.append(message)
        await asyncio.sleep(0.01)
    assert messages[-1].image_id == "01" * 32
    assert (messages[-2].stage, messages[-2].layers[0].state) == ("commit", "done")


async def test_an_error_comes_after_the_progress() -> None:
    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        tell(PullProgress([layer("a", 1)], "fetch"))
        await asyncio.sleep(0.01)
        raise NotFound("cannot pull: no such image")

    stream = control._progress(work)
    assert (await anext(stream)).stage == "fetch"
    with pytest.raises(NotFound):
        await anext(stream)


async def test_a_client_that_leaves_is_not_worked_for() -> None:
    ended = asyncio.Event()

    async def work(tell: OnProgress) -> Sequence[ImageInfo]:
        tell(PullProgress([layer("a", 1)], "fetch"))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return []

    stream = control._progress(work)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(60):
        await ended.wait()
