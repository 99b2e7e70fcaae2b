"""What a start makes of the records that it finds; the whole of it is in the integration tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from crio.base.errors import Internal
from crio.container.create import ContainerMaker
from crio.daemon.recovery import Recovery, _records
from crio.network.manager import Network
from crio.network.pod import PodNetwork
from crio.sandbox.record import FILE
from small_node import SmallNode, make_sandbox


def test_records_are_what_is_named_by_an_id(tmp_path: Path) -> None:
    for name in ("cd" * 32, "ab" * 32, "lock", "AB" * 32, "ab" * 31, "x" * 64, ".tmp", "ab" * 33):
        (tmp_path / name).mkdir()
    assert list(_records(str(tmp_path))) == [str(tmp_path / ("ab" * 32)), str(tmp_path / ("cd" * 32))]


def test_no_directory_has_no_records(tmp_path: Path) -> None:
    assert list(_records(str(tmp_path / "missing"))) == []


@pytest.fixture
def small(tmp_path: Path) -> SmallNode:
    return SmallNode(tmp_path)


def recovery(small: SmallNode) -> Recovery:
    no_maker: Any = None
    return Recovery(small.sandboxes, small.containers, cast(ContainerMaker, no_maker), small.network)


def keep(small: SmallNode, number: int, **facts: object) -> Path:
    directory = small.root / "sandboxes" / (f"{number:02x}" * 32)
    directory.mkdir()
    make_sandbox(number, directory=str(directory), **facts).save()  # type: ignore[arg-type]
    return directory


async def test_complete_ones_are_adopted_and_the_others_told(small: SmallNode) -> None:
    keep(small, 1)
    keep(small, 2, complete=False)
    keep(small, 3, stopped_at=5)
    unfinished = recovery(small)._load_sandboxes()
    assert [item.record.id[:2] for item in unfinished] == ["02"]
    assert {item.record.id[:2]: item.ready for item in small.sandboxes} == {"01": True, "03": False}
    assert small.sandboxes.get("01").name == "k8s_pod1_default_u1_0"


async def test_a_stop_that_had_begun_is_told(small: SmallNode) -> None:
    keep(small, 1, stopping=True)
    keep(small, 2, stopping=True, stopped_at=5)
    pass_ = recovery(small)
    assert pass_._load_sandboxes() == []
    assert pass_._found.stopping == ["01" * 32]
    assert pass_._found.sandboxes == 2
    assert small.sandboxes.get("01").stopping


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version":99}', b'{"id":"\xff"}', None])
async def test_a_damaged_record_goes_with_its_directory(
    small: SmallNode, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    directory = keep(small, 1)
    (directory / "hostname").write_text("web\n")
    keep(small, 2)
    if damage is None:
        (directory / FILE).unlink()
    else:
        (directory / FILE).write_bytes(damage)
    assert recovery(small)._load_sandboxes() == []
    assert not directory.exists()
    assert [item.record.id[:2] for item in small.sandboxes] == ["02"]
    assert "is lost" in caplog.text


async def test_one_that_cannot_be_removed_does_not_keep_the_others(
    small: SmallNode, caplog: pytest.LogCaptureFixture
) -> None:
    pass_ = recovery(small)
    done: list[str] = []

    def fails() -> None:
        raise OSError(28, "No space left on device")

    async def works(name: str) -> None:
        done.append(name)

    await pass_._attempt("remove a", fails)
    await pass_._attempt("remove b", works, "b")
    assert done == ["b"]
    assert pass_._found.undone == 1
    assert "cannot remove a" in caplog.text


class SlowNetwork:
    """Detaches two pods, or none: each waits until the other is being detached."""

    def __init__(self, *pods: str) -> None:
        self.left = [PodNetwork(id=pod, namespace="", name="", uid="", netns_path="") for pod in pods]
        self.live: set[str] = set()
        self._both = asyncio.Barrier(2)

    def attachments(self) -> list[PodNetwork]:
        return list(self.left)

    async def delete(self, attachment: PodNetwork) -> None:
        await self._both.wait()
        self.left.remove(attachment)

    async def collect_garbage(self, live: set[str]) -> list[str]:
        self.live = live
        return []


async def test_networks_are_detached_side_by_side_and_once(small: SmallNode) -> None:
    keep(small, 1)
    pods = {number: f"{number:02x}" * 32 for number in range(1, 5)}
    network = SlowNetwork(*pods.values())
    pass_ = Recovery(small.sandboxes, small.containers, cast(ContainerMaker, None), cast(Network, network))
    pass_._load_sandboxes()

    async def fail(_: object) -> None:
        raise Internal("a plug-in hangs")

    small.sandboxes.unfinished._remove = fail
    assert not await small.sandboxes.unfinished.remove_or_keep(make_sandbox(2, complete=False))
    async with asyncio.timeout(60):
        await pass_._sweep_network()
    # The first runs, and the second is tried again later.
    assert [attachment.id for attachment in network.left] == [pods[1], pods[2]]
    assert network.live == set(pods.values())
    assert pass_._found.undone == 2
