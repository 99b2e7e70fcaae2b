"""Read-only stores behind the writable one, on mounts of their own, and images on another file system."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import FailedPrecondition
from crio.base.ids import new_id
from crio.linux.mount import MS_BIND, MS_RDONLY, MS_REMOUNT, bind, mount, umount
from crio.storage.check import check, repair
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.others import OtherStore
from crio.storage.records import ImageRecord
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture
def shared(place: Path, tar: TarMaker, add_image: ImageMaker) -> tuple[Path, ImageRecord]:
    """A store that somebody filled, seen through a read-only mount, as from a file server."""
    made = StoreOptions(str(place / "made"), str(place / "made-run"))
    with Store.open(made) as store:
        image = add_image(store, "localhost/shared:1", tar(("a", b"1")), tar(("b", b"2")))
    point = place / "shared"
    point.mkdir()
    _export(place / "made", point)
    return point, image


def _export(source: Path, point: Path) -> None:
    bind(str(source), str(point))
    mount(None, str(point), None, MS_REMOUNT | MS_BIND | MS_RDONLY)


@pytest.fixture
def behind(options: StoreOptions, shared: tuple[Path, ImageRecord]) -> Iterator[Store]:
    with Store.open(replace(options, additional_image_stores=[str(shared[0])])) as store:
        yield store


def test_its_images_are_there_and_used_in_place(
    behind: Store, shared: tuple[Path, ImageRecord], tar: TarMaker, add_image: ImageMaker
) -> None:
    _, image = shared
    assert [found.id for found in behind.images()] == [image.id]
    assert behind.image("localhost/shared:1").digest == image.digest
    assert b"layers" in behind.image_big_data(image.id, "manifest")
    id = new_id()
    behind.create_container(id, names=["c"], image_id=image.id)
    root = Path(behind.mount_container(id))
    assert sorted(os.listdir(root)) == ["a", "b"]
    (root / "mine").write_text("x")
    # The same image again takes no space, and one on top of its layers only its own.
    other = add_image(behind, "localhost/mine:1", tar(("a", b"1")), tar(("b", b"2")), tar(("c", b"3")))
    assert list(behind.layer_store.table.snapshot().by_id.keys() - {behind.container(id).layer}) == [other.layer]
    assert check(behind, age=0).healthy
    assert collect(behind) == []
    behind.remove_container(id)


def test_it_is_never_changed(behind: Store, shared: tuple[Path, ImageRecord]) -> None:
    _, image = shared
    with pytest.raises(FailedPrecondition, match="read-only"):
        behind.remove_image(image.id)
    # It takes no space of the node's.
    assert behind.fs_usage().bytes == 0
    assert behind.image_size(image.id) > 0


def test_damage_in_it_is_named_and_left(behind: Store, shared: tuple[Path, ImageRecord], place: Path) -> None:
    _, image = shared
    with (place / "made/overlay" / image.layer / "diff/b").open("wb") as file:
        file.write(b"!")
    report = check(behind)
    assert {damage.read_only for damage in report.damages} == {True}
    assert len(repair(behind, report)) == len(report.damages)
    assert behind.image(image.id)


def test_a_server_that_goes_away_and_comes_back(
    shared: tuple[Path, ImageRecord], place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    point, image = shared
    other = OtherStore(ImageRecord, f"{point}/overlay-images", "images", timeout=60)
    assert list(other.snapshot().by_id) == [image.id]
    other.close()
    umount(str(point))
    with caplog.at_level(logging.WARNING):
        assert other.snapshot().by_id == {}
        assert other.snapshot().by_id == {}
    assert sum("passed over" in record.message for record in caplog.records) == 1
    _export(place / "made", point)
    assert list(other.snapshot().by_id) == [image.id]
    other.close()


@pytest.mark.parametrize("state", ["missing", "empty", "without locks", "damaged"])
def test_one_that_cannot_be_read_keeps_nobody_from_the_rest(
    options: StoreOptions,
    shared: tuple[Path, ImageRecord],
    place: Path,
    state: str,
    tar: TarMaker,
    add_image: ImageMaker,
) -> None:
    point, _ = shared
    umount(str(point))
    made = place / "made"
    match state:
        case "missing":
            point.rmdir()
        case "empty":
            shutil.rmtree(made)
            made.mkdir()
        case "without locks":
            for lock in made.rglob("*.lock"):
                lock.unlink()
        case _:
            for kind in ("images", "layers"):
                (made / f"overlay-{kind}/{kind}.json").write_text("[{")
    if point.exists():
        _export(made, point)
    with Store.open(replace(options, additional_image_stores=[str(point)])) as store:
        mine = add_image(store, "localhost/mine:1", tar(("x", b"1")))
        assert [image.id for image in store.images()] == [mine.id]
        id = new_id()
        store.create_container(id, names=["c"], image_id=mine.id)
        assert os.listdir(store.mount_container(id)) == ["x"]
        store.remove_container(id)


def test_images_on_a_file_system_of_their_own(
    options: StoreOptions, place: Path, tar: TarMaker, add_image: ImageMaker
) -> None:
    with Store.open(options) as store:
        old = add_image(store, "localhost/old:1", tar(("a", b"1")))
    disk = place / "disk"
    disk.mkdir()
    mount("tmpfs", str(disk), "tmpfs", 0, "size=64m")
    split = replace(options, imagestore=str(disk / "images"))
    with Store.open(split) as store:
        new = add_image(store, "localhost/new:1", tar(("a", b"1")), tar(("b", os.urandom(1 << 20))))
        # What was there before the split still is, and serves as a lower layer.
        assert {image.id for image in store.images()} == {old.id, new.id}
        assert store.layer(new.layer).parent == old.layer
        assert os.path.isdir(disk / "images/overlay" / new.layer)
        assert os.path.isdir(disk / "images/overlay-images" / new.id)
        assert store.image_place == split.imagestore
        id = new_id()
        store.create_container(id, names=["c"], image_id=new.id)
        root = Path(store.mount_container(id))
        assert sorted(os.listdir(root)) == ["a", "b"]
        (root / "mine").write_bytes(bytes(1 << 20))
        assert os.path.exists(f"{options.graphroot}/overlay/{store.container(id).layer}/diff/mine")
        status = os.statvfs(options.graphroot)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        assert abs(store.container_fs_usage().bytes - used) < 256 << 20
        # More data for an old image go where it is.
        store.put_image(old.id, layer=old.layer, names=["localhost/old:2"], big_data={"note": b"x"})
        assert os.path.exists(f"{options.graphroot}/overlay-images/{old.id}/note")
        assert store.image_big_data(old.id, "note") == b"x"
        assert check(store, age=0).healthy
        assert collect(store) == []
        store.remove_container(id)
        assert store.remove_image(new.id) == [new.layer]
        assert store.remove_image(old.id) == [old.layer]
        assert store.fs_usage().bytes == 0
    assert os.listdir(disk / "images/overlay/l") == []
