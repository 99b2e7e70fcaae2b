from __future__ import annotations

import logging

import pytest

from crio.base.unfinished import Unfinished


class _Remover:
    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.asked: list[str] = []

    async def remove(self, thing: str) -> None:
        self.asked.append(thing)
        if thing in self.busy:
            raise OSError(f"{thing} is busy")


@pytest.fixture
def remover() -> _Remover:
    return _Remover()


@pytest.fixture
def unfinished(remover: _Remover) -> Unfinished[str]:
    return Unfinished(remover.remove, lambda thing: f"pod {thing}")


async def test_what_can_be_removed_is_not_kept(unfinished: Unfinished[str], remover: _Remover) -> None:
    assert await unfinished.remove_or_keep("a")
    assert not unfinished
    await unfinished.retry()
    assert remover.asked == ["a"]


async def test_what_cannot_is_tried_until_it_can(
    unfinished: Unfinished[str], remover: _Remover, caplog: pytest.LogCaptureFixture
) -> None:
    remover.busy = {"a", "b"}
    with caplog.at_level(logging.WARNING):
        assert not await unfinished.remove_or_keep("a")
    assert caplog.messages == ["cannot remove what is left of pod a, it will be tried again: a is busy"]
    assert not await unfinished.remove_or_keep("b")
    remover.busy = {"b"}
    await unfinished.retry()
    assert unfinished, "b is still there"
    remover.busy.clear()
    remover.asked.clear()
    await unfinished.retry()
    assert remover.asked == ["b"]
    assert not unfinished
