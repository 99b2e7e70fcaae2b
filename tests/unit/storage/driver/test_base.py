"""What every driver does alike. What only one does is in its own file."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract import store_drivers
from contract.file_systems import FULL, fill
from crio.base.errors import CrioError, DataLoss, FailedPrecondition, NotFound
from crio.base.ids import new_id
from crio.linux.mount import mounts_below, unmount_below
from crio.storage.check import check
from crio.storage.deletion import delete_tree
from crio.storage.driver.base import MountOptions
from crio.storage.gc import collect
from crio.storage.records import IdMapEntry, ImageRecord
from crio.storage.store import Store
from store_mounts import unmount, users

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture(scope="module", params=store_drivers.KINDS)
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """One file system for all tests of a kind of store."""
    kind: str = request.param
    if store_drivers.missing(kind):
        pytest.skip(f"needs {store_drivers.missing(kind)}")
    path = Path(tempfile.mkdtemp(prefix="crio-driver-", dir="/dev/shm"))
    try:
        with store_drivers.file_system(kind, path) as place:
            yield kind, place
    finally:
        delete_tree(str(path))


@pytest.fixture
def place(ground: tuple[str, Path]) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=ground[1]))
    try:
        yield path
    finally:
        unmount_below(str(path))
        delete_tree(str(path))


@pytest.fixture
def store(ground: tuple[str, Path], place: Path) -> Iterator[Store]:
    with store_drivers.store(ground[0], place) as opened:
        yield opened


def _layers(tar: TarMaker) -> list[bytes]:
    tool = tarfile.TarInfo("d/tool")
    tool.mode, tool.uid, tool.gid = 0o4755, 7, 8
    link = tarfile.TarInfo("d/hard")
    link.type, link.linkname = tarfile.LNKTYPE, "d/a"
    soft = tarfile.TarInfo("soft")
    soft.type, soft.linkname = tarfile.SYMTYPE, "d/a"
    pipe = tarfile.TarInfo("pipe")
    pipe.type = tarfile.FIFOTYPE
    files = [("d", None), ("d/a", b"1"), ("d/b", b"2"), ("o", None), ("o/x", b"3"), ("gone", b"4"), ("was", None)]
    first = tar(*files, ("was/dir", b""), ("is", b""), (".wh.none", b""), tool, link, soft, pipe)
    second = tar(
        ("d/.wh.b", b""),
        ("d/c", b"5" * 70000),
        ("o/.wh..wh..opq", b""),
        ("o/y", b"6"),
        (".wh.gone", b""),
        ("d/a", b"7"),
        ("was", b"a file now"),
        ("is", None),
        ("is/dir", b""),
    )
    return [first, second]


FILES = ["d", "d/a", "d/c", "d/hard", "d/tool", "is", "is/dir", "o", "o/y", "pipe", "soft", "was"]


def test_layers_are_put_over_each_other(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    layers = _layers(tar)
    image = add_image(store, "localhost/a:1", *layers)
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id)
    root = Path(store.mount_container(id))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == FILES
    assert (root / "d/a").read_bytes() == b"7"
    assert (root / "d/hard").read_bytes() == b"1"
    status = (root / "d/tool").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 7, 8)
    assert os.readlink(root / "soft") == "d/a"
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert (root / "d/c").stat().st_mtime == 1700000000
    assert stat.S_IMODE(root.stat().st_mode) == 0o555
    # Each layer comes out as it went in, also the one below.
    base = store.layer(image.layer).parent
    assert b"".join(store.layer_tar(image.layer)) == layers[1]
    # A driver of full copies has nothing of a layer's own; it is read where other layers may have replaced it.
    assert b"".join(store.layer_tar(base)) == layers[0]
    store.remove_container(id)
    assert store.remove_image(image.id) == [image.layer, base]
    assert list(store.driver.layer_ids()) == []


def test_a_container_writes_into_its_own_layer_only(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", *_layers(tar))
    first, second = new_id(), new_id()
    for id in (first, second):
        store.create_container(id, names=[id], image_id=image.id)
    root = Path(store.mount_container(first))
    assert store.container_usage(first).inodes <= 1
    assert store.container_usage(first).bytes < 20000
    (root / "d/a").write_bytes(b"mine")
    (root / "d/new").write_bytes(b"x" * 200_000)
    assert 200_000 <= store.container_usage(first).bytes < 300_000
    (root / "is/dir").unlink()
    shutil.rmtree(root / "o")
    other = Path(store.mount_container(second))
    assert (other / "d/a").read_bytes() == b"7"
    assert sorted(os.listdir(other / "o")) == ["y"]
    assert users(store, first) == 1
    assert store.mount_container(first) == str(root)
    assert unmount(store, first)
    assert not unmount(store, first)
    # What was written is there at the next mount.
    again = Path(store.mount_container(first))
    assert ((again / "d/a").read_bytes(), (again / "o").exists()) == (b"mine", False)
    assert check(store, age=0).healthy
    for id in (first, second):
        store.remove_container(id)
    assert collect(store) == []
    assert sorted(store.driver.layer_ids()) == sorted(layer.id for layer in store.layers())
    assert check(store, age=0).healthy


def test_what_stays_after_a_crash_is_garbage(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", tar(("a", b"1")))
    lost = new_id()
    store.driver.create(lost, image.layer, staged=None, image=False, discard=store.layer_store.discard)
    assert store.driver.exists(lost)
    assert lost in collect(store)
    assert not store.driver.exists(lost)
    assert [layer.id for layer in store.layers()] == [image.layer]


def test_a_missing_layer_is_named(store: Store) -> None:
    for attempt in (
        lambda: store.driver.mount("a" * 64, MountOptions()),
        lambda: store.driver.own_directories("a" * 64),
        lambda: store.driver.create("b" * 64, "a" * 64, staged=None, image=True, discard=store.layer_store.discard),
    ):
        with pytest.raises(NotFound, match="a" * 64):
            attempt()
    store.driver.unmount("a" * 64)
    store.driver.remove("a" * 64, store.layer_store.discard)
    assert store.driver.repair_links() == 0


def test_user_namespaces(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", *_layers(tar))
    entries = [IdMapEntry(0, 200000, 65536)]
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id, uid_mappings=entries, gid_mappings=entries)
    root = Path(store.mount_container(id))
    assert (root.stat().st_uid, (root / "d/tool").stat().st_uid) == (200000, 200007)
    assert stat.S_IMODE((root / "d/tool").stat().st_mode) == 0o4755
    store.remove_container(id)
    # The image still has its own.
    again = new_id()
    store.create_container(again, names=["d"], image_id=image.id)
    assert (Path(store.mount_container(again)) / "d/tool").stat().st_uid == 7
    store.remove_container(again)


def test_limits_hold_or_are_refused(store: Store, ground: tuple[str, Path]) -> None:
    id = new_id()
    store.create_container(id, names=["c"], image_id=None)
    if ground[0] == "btrfs":
        store.limit_container(id, size=4 << 20)
        path = Path(store.mount_container(id)) / "f"
        with pytest.raises(OSError, match=FULL):
            fill(path, 16 << 20)
        assert path.stat().st_size <= 5 << 20
    else:
        with pytest.raises(CrioError, match=r"cannot limit .*(prjquota|no quotas)"):
            store.limit_container(id, size=4 << 20)
    store.remove_container(id)


def test_a_root_of_another_driver_is_not_taken(
    ground: tuple[str, Path], place: Path, tar: TarMaker, add_image: ImageMaker
) -> None:
    kind = ground[0]
    other = "vfs" if kind != "vfs" else "overlay"
    with store_drivers.store(kind, place) as store:
        add_image(store, "localhost/a:1", tar(("a", b"1")))
        name = store.driver.name
    with pytest.raises(FailedPrecondition, match=f"made with the driver {name}"), store_drivers.store(other, place):
        pass
    assert mounts_below(str(place)) == []


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_layers_that_are_gone_are_taken_again(
    store: Store, tar: TarMaker, add_image: ImageMaker, which: tuple[int, ...]
) -> None:
    """As a pull does it: the same layers again, of which some were lost under an image that is in use."""
    layers = [*_layers(tar), tar(("top", b"8"))]
    image = add_image(store, "localhost/a:1", *layers)
    used, chain = new_id(), [layer.id for layer in store.layer_store.chain(image.layer)][::-1]
    container = store.create_container(used, names=["used"], image_id=image.id)
    lost = [chain[index] for index in which]
    for id in lost:
        delete_tree(store.driver.own_directories(id)[0])
    assert [id for id in chain if not store.driver.is_whole(id)] == lost
    for id in lost:
        layer = store.layer(id)
        assert store.find_layer(layer.parent or None, layer.diff_digest) is None
    assert add_image(store, "localhost/a:1", *layers).id == image.id
    for id in lost:
        layer = store.layer(id)
        assert store.find_layer(layer.parent or None, layer.diff_digest) == layer
    assert check(store, age=0).healthy
    for id in (used, new_id()):
        if id != used:
            store.create_container(id, names=["new"], image_id=image.id)
        root = Path(store.mount_container(id))
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == sorted([*FILES, "top"])
        store.remove_container(id)
    assert container.layer not in store.driver.layer_ids()


def test_a_layer_that_was_lost_with_its_record(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    """As a crash leaves it that came while a damaged layer was replaced."""
    layers = _layers(tar)
    image = add_image(store, "localhost/a:1", *layers)
    base = store.layer(image.layer).parent
    store.driver.remove(base, store.layer_store.discard)
    with store.layer_store.table.writing() as edit:
        edit.drop(base)
        edit.save()
    assert add_image(store, "localhost/a:1", *layers).id == image.id
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id)
    root = Path(store.mount_container(id))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == FILES
    store.remove_container(id)
    assert check(store, age=0).healthy


def test_no_container_is_made_on_a_layer_that_is_gone(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", tar(("a", b"1")))
    delete_tree(store.driver.own_directories(image.layer)[0])
    with pytest.raises(DataLoss, match=f"layer {image.layer} of image {image.id} is damaged"):
        store.create_container(new_id(), names=["c"], image_id=image.id)
    assert store.containers() == []
