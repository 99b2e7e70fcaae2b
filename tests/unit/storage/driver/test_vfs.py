from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.ids import new_id
from crio.storage.check import check
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture
def vfs(options: StoreOptions) -> Iterator[Store]:
    with Store.open(replace(options, driver="vfs")) as store:
        yield store


def test_layers_are_full_copies(vfs: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    layers = [
        tar(("d", None), ("d/a", b"1"), ("d/b", b"2"), ("o", None), ("o/x", b"3"), ("gone", b"4"), (".wh.none", b"")),
        tar(("d/.wh.b", b""), ("d/c", b"5"), ("o/.wh..wh..opq", b""), ("o/y", b"6"), (".wh.gone", b""), ("d/a", b"7")),
    ]
    image = add_image(vfs, "localhost/a:1", *layers)
    id = new_id()
    vfs.create_container(id, names=["c"], image_id=image.id)
    root = Path(vfs.mount_container(id))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["d", "d/a", "d/c", "o", "o/y"]
    assert (root / "d/a").read_bytes() == b"7"
    (root / "d/a").write_bytes(b"mine")
    assert (Path(vfs.driver.own_directories(image.layer)[0]) / "d/a").read_bytes() == b"7"
    assert os.listxattr(root / "o") == []
    assert collect(vfs) == []
    assert b"".join(vfs.layer_tar(image.layer)) == layers[1]
    assert vfs.container_usage(id).inodes == 0
    vfs.remove_container(id)
    vfs.remove_image(image.id)
    assert list(vfs.driver.layer_ids()) == []


def test_check_finds_nothing(vfs: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    add_image(vfs, "localhost/a:1", tar(("a", b"1")), tar(("b", b"2")))
    assert check(vfs, age=0).healthy
