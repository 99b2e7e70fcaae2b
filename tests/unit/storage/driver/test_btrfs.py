from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from contract.file_systems import FULL, fill, mounted
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.base.ids import new_id
from crio.linux import btrfs
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

pytestmark = [pytest.mark.root, pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="needs btrfs-progs")]

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with mounted("btrfs") as path:
        yield path


@pytest.fixture
def on_disk(disk: Path, options: StoreOptions) -> StoreOptions:
    return replace(options, graphroot=str(disk / new_id()[:8]), driver="btrfs")


def test_layers_are_snapshots(on_disk: StoreOptions, tar: TarMaker, add_image: ImageMaker) -> None:
    with Store.open(on_disk) as store:
        big = os.urandom(8 << 20)
        image = add_image(store, "localhost/a:1", tar(("a", big)), tar(("b", b"1")))
        for layer in store.layers():
            assert btrfs.is_subvolume(f"{on_disk.graphroot}/btrfs/subvolumes/{layer.id}")
        ids = [new_id() for _ in range(4)]
        before = os.statvfs(on_disk.graphroot).f_bfree
        for id in ids:
            store.create_container(id, names=[id], image_id=image.id)
            assert (Path(store.mount_container(id)) / "a").read_bytes() == big
        # Blocks are shared.
        free = os.statvfs(on_disk.graphroot)
        assert (before - free.f_bfree) * free.f_bsize < len(big)
        # A container may have subvolumes of its own.
        btrfs.create_subvolume(store.mount_container(ids[0]) + "/inner")
        for id in ids:
            store.remove_container(id)
        assert collect(store) == []
        store.remove_image(image.id)
    assert os.listdir(f"{on_disk.graphroot}/btrfs/subvolumes") == []


def test_the_size_of_storage_conf_limits_every_container(on_disk: StoreOptions) -> None:
    with Store.open(replace(on_disk, driver_options=["btrfs.size=2M", "btrfs.min_space=1M"])) as store:
        id = new_id()
        store.create_container(id, names=["c"], image_id=None)
        with pytest.raises(OSError, match=FULL):
            fill(store.mount_container(id) + "/f", 8 << 20)
        with pytest.raises(InvalidArgument, match="min_space"):
            store.limit_container(id, size=1000)
        with pytest.raises(InvalidArgument, match="only counts bytes"):
            store.limit_container(id, inodes=1000)
        store.remove_container(id)


def test_where_it_cannot_be(options: StoreOptions, on_disk: StoreOptions, place: Path) -> None:
    with pytest.raises(FailedPrecondition, match="not on a btrfs"), Store.open(replace(options, driver="btrfs")):
        pass
    with pytest.raises(InvalidArgument, match="imagestore"), Store.open(replace(on_disk, imagestore=str(place / "i"))):
        pass
