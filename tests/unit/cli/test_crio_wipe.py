"""`crio wipe` on a real store: what goes after a reboot, an upgrade and a power cut, and what stays."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import crio
from crio.base.ids import new_id
from crio.cli.crio import main
from crio.config.marks import note_clean_stop, note_start
from crio.config.tables.root import Crio
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from store_mounts import unmount

pytestmark = pytest.mark.root

POD = json.dumps({"pod-name": "p", "pod-id": "0" * 64})


class Node:
    """A store with an image and two containers: one of a pod, one of podman."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.crio = Crio(
            root=str(root / "storage"),
            runroot=str(root / "run-storage"),
            version_file=str(root / "run" / "version"),
            version_file_persist=str(root / "lib" / "version"),
            clean_shutdown_file=str(root / "lib" / "clean"),
        )
        lines = [f'{name} = "{getattr(self.crio, name)}"' for name in Crio.__struct_fields__ if name in _FILES]
        self.config = root / "crio.conf"
        self.text = "[crio]\n" + "\n".join(lines) + '\nstorage_driver = "overlay"\n'
        self.sock = str(root / "crio.sock")
        self.write("internal_wipe = false")
        self.image, self.ours, self.theirs = new_id(), new_id(), new_id()
        with self.store() as store:
            layer = make_layer(store)
            store.put_image(self.image, layer=layer, names=["localhost/a:1"], big_data={})
            for container, metadata in ((self.ours, POD), (self.theirs, "{}")):
                store.create_container(container, names=[container], image_id=self.image, metadata=metadata)

    def write(self, more: str) -> None:
        self.config.write_text(f'{self.text}{more}\n[crio.api]\nlisten = "{self.sock}"\n')

    def store(self) -> Store:
        return Store.open(StoreOptions(graphroot=self.crio.root, runroot=self.crio.runroot))

    def wipe(self, *arguments: str) -> int:
        return main(["--config", str(self.config), "--config-dir", str(self.root / "none"), "wipe", *arguments])

    def left(self) -> tuple[set[str], set[str]]:
        with self.store() as store:
            return {container.id for container in store.containers()}, {image.id for image in store.images()}

    def reboot(self) -> None:
        Path(self.crio.version_file).unlink()


_FILES = ("root", "runroot", "version_file", "version_file_persist", "clean_shutdown_file")


def make_layer(store: Store) -> str:
    """A layer with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"text"))
    data = buffer.getvalue()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with store.stage_layer() as writer:
        writer.write(data)
        return writer.commit(None, digest, len(data), digest, len(data), 0).id


def mounts_below(root: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{root}/")), reverse=True)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    for name in list(os.environ):
        if name.startswith("CONTAINER"):
            monkeypatch.delenv(name)
    (tmp_path / "storage.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    node = Node(tmp_path)
    note_start(node.crio, crio.__version__)
    yield node
    # The driver keeps its directory mounted on itself, for as long as containers may be mounted below.
    for point in mounts_below(tmp_path):
        subprocess.run(["umount", point], check=True)


def test_nothing_goes_without_a_reboot(node: Node) -> None:
    assert node.wipe() == 0
    assert node.left() == ({node.ours, node.theirs}, {node.image})


def test_a_reboot_clears_our_containers_only(node: Node) -> None:
    note_clean_stop(node.crio)
    node.reboot()
    assert node.wipe() == 0
    assert node.left() == ({node.theirs}, {node.image})


def test_by_default_it_is_left_to_the_daemon(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.write("internal_wipe = true")
    note_clean_stop(node.crio)
    node.reboot()
    assert node.wipe() == 0
    assert "nothing to do: the daemon clears" in capsys.readouterr().out
    assert node.left()[0] == {node.ours, node.theirs}


def test_an_upgrade_clears_our_images_unless_another_tool_uses_them(node: Node) -> None:
    note_start(node.crio, "1.35.0")
    note_clean_stop(node.crio)
    node.reboot()
    assert node.wipe() == 1
    assert node.left() == ({node.theirs}, {node.image})
    with node.store() as store:
        store.remove_container(node.theirs)
        store.create_container(node.ours, names=[], image_id=node.image, metadata=POD)
    assert node.wipe() == 0
    assert node.left() == (set(), set())


def test_force_does_not_ask_the_files(node: Node) -> None:
    assert node.wipe("--force") == 1
    assert node.left()[0] == {node.theirs}


def test_a_power_cut_clears_all_once_if_nothing_may_be_repaired(node: Node) -> None:
    node.write("internal_wipe = false\ninternal_repair = false")
    node.reboot()
    assert node.wipe() == 0
    assert os.listdir(node.crio.root) == []
    assert node.left() == (set(), set())
    (Path(node.crio.root) / "kept").write_text("")
    assert node.wipe() == 0
    assert (Path(node.crio.root) / "kept").exists()


def test_a_power_cut_clears_images_that_are_kept_apart(node: Node) -> None:
    images = node.root / "images"
    node.write(f'internal_wipe = false\ninternal_repair = false\nimagestore = "{images}"')
    options = StoreOptions(graphroot=node.crio.root, runroot=node.crio.runroot, imagestore=str(images))
    with Store.open(options) as store:
        store.put_image(new_id(), layer=make_layer(store), names=["localhost/b:1"], big_data={})
    node.reboot()
    assert node.wipe() == 0
    assert os.listdir(images) == os.listdir(node.crio.root) == []


def test_what_is_mounted_is_not_cleared(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.write("internal_wipe = false\ninternal_repair = false")
    node.reboot()
    with node.store() as store:
        point = store.mount_container(node.theirs)
    assert node.wipe() == 1
    assert f"{point} is mounted" in capsys.readouterr().err
    with node.store() as store:
        unmount(store, node.theirs)
    assert node.left()[0] == {node.ours, node.theirs}


def test_it_refuses_beside_a_daemon(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(node.sock)
        daemon.listen()
        assert node.wipe("-f") == 1
    assert capsys.readouterr().err == f"crio: cannot wipe: crio runs at {node.sock}; stop it first\n"
    assert node.left()[0] == {node.ours, node.theirs}
