"""`crio check` on a real store that was damaged by hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.ids import new_id
from crio.cli.crio import main
from crio.linux.mount import mounts_below, unmount_below
from crio.storage.clearing import clear_storage
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root


class Node:
    """A store with one image of one layer, and a container."""

    def __init__(self, root: Path) -> None:
        self.storage = root / "storage"
        self.config = root / "crio.conf"
        self.config.write_text(
            f'[crio]\nroot = "{self.storage}"\nrunroot = "{root}/run"\n[crio.api]\nlisten = "{root}/crio.sock"\n'
        )
        self.image, self.container = new_id(), new_id()
        with self.store() as store:
            with store.stage_layer() as writer:
                writer.write(bytes(1024))
                digest = f"sha256:{EMPTY}"
                self.layer = writer.commit(None, digest, 1024, digest, 1024, 0).id
            store.put_image(self.image, layer=self.layer, names=["localhost/a:1"], big_data={})
            store.create_container(self.container, names=[], image_id=self.image)

    def store(self) -> Store:
        return Store.open(StoreOptions(graphroot=str(self.storage), runroot=str(self.storage.parent / "run")))

    def check(self, *arguments: str) -> int:
        return main(["-c", str(self.config), "-d", "/none", "check", *arguments])

    def damage(self) -> None:
        shutil.rmtree(self.storage / "overlay" / self.layer / "diff")


EMPTY = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""SHA-256 of an archive of two zero blocks."""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    for name in list(os.environ):
        if name.startswith("CONTAINER"):
            monkeypatch.delenv(name)
    (tmp_path / "storage.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    yield Node(tmp_path)
    unmount_below(str(tmp_path), include_itself=False)


def test_a_whole_store(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.check() == 0
    assert node.check("--quick", "--age=1h") == 0
    assert "no damaged" in capsys.readouterr().out


def test_damage_is_told_and_left(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.damage()
    assert node.check("-q") == 1
    assert f"layer {node.layer}: " in capsys.readouterr().out
    assert node.check() == 1


def test_repair_leaves_containers_unless_forced(node: Node) -> None:
    node.damage()
    assert node.check("--repair") == 1
    assert node.check("-r", "-f") == 0
    assert node.check() == 0
    with node.store() as store:
        assert (store.containers(), store.images(), store.layers()) == ([], [], [])


def test_what_cannot_be_read_can_only_be_cleared(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.storage / "overlay-layers" / "layers.json").write_text("{")
    assert node.check("-r") == 1
    assert node.check("-r", "-w") == 0
    assert os.listdir(node.storage) == []
    assert f"{node.storage} was cleared" in capsys.readouterr().out


def test_images_that_are_kept_apart_are_cleared_as_well(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    images = node.storage.parent / "images"
    node.config.write_text(node.config.read_text().replace("[crio]", f'[crio]\nimagestore = "{images}"'))
    assert node.check() == 0
    (images / "overlay-images" / "images.json").write_text("{")
    assert node.check("-r") == 1
    assert node.check("-r", "-w") == 0
    assert f"{images} was cleared" in capsys.readouterr().out
    assert os.listdir(images) == os.listdir(node.storage) == []
    assert node.check() == 0


def test_clearing_stops_at_mounted_containers_unless_forced(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    with node.store() as store:
        point = store.mount_container(node.container)
    node.damage()
    assert node.check("-r", "-w") == 1
    assert f"{point} is mounted" in capsys.readouterr().err
    clear_storage(str(node.storage), unmount=True)
    assert mounts_below(str(node.storage)) == []
    assert os.listdir(node.storage) == []


def test_what_an_interrupted_pull_left_is_told(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.storage / "overlay/tempdirs/temp-dir-dead").mkdir(parents=True)
    stray = node.storage / "overlay-images" / new_id()
    stray.mkdir()
    assert node.check() == 1
    output = capsys.readouterr().out
    assert "removed unfinished work in" in output
    assert f"files {stray}: no record names them" in output
    assert node.check("--repair") == 0
    assert node.check() == 0
    assert not stray.exists()


@pytest.mark.parametrize("age", ["-1h", "day", ""])
def test_an_age_is_a_duration(node: Node, age: str) -> None:
    assert node.check(f"--age={age}") == 2
