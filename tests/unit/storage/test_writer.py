from __future__ import annotations

import hashlib
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.base.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from crio.linux.mount import mount
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from open_files import open_files

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]


def add(store: Store, parent: str | None, data: bytes, piece: int = 1 << 20) -> str:
    with store.stage_layer() as writer:
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
        return writer.commit(parent).id


def whole(store: Store, id: str) -> bytes:
    return b"".join(store.layer_tar(id))


def nothing_staged(store: Store) -> bool:
    homes = [os.path.join(home, "tempdirs") for home in store.driver.writable_homes]
    places = [*homes, *(os.path.join(directory, "tmp") for directory in store.layer_store.directories)]
    return not [
        file for place in places for directory, names, files in os.walk(place) for file in files if "lock-" not in file
    ]


def test_record_says_what_the_layer_is(store: Store, tar: TarMaker) -> None:
    data = tar(("a", b"x" * 5000), ("d", None))
    with store.stage_layer() as writer:
        writer.write(data)
        assert writer.size == len(data)
        layer = writer.commit(None, None, None, "sha256:" + "1" * 64, 99, 2)
    diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (layer.diff_digest, layer.diff_size, layer.id) == (diff_id, len(data), diff_id.removeprefix("sha256:"))
    assert (layer.compressed_size, layer.compression, layer.uidset) == (99, 2, [0])
    assert store.find_layer(None, diff_id) == layer
    assert layer.compressed_diff_digest == "sha256:" + "1" * 64
    assert not layer.flags.get("incomplete")


def test_a_layer_that_cannot_be_begun_leaves_nothing_open(store: Store) -> None:
    staging = store.layer_store.staging()
    with store.stage_layer():
        pass
    before = open_files()
    os.rmdir(staging.path)
    try:
        for _ in range(3):
            with pytest.raises(FileNotFoundError):
                store.stage_layer()
        assert open_files() == before
    finally:
        os.mkdir(staging.path)
    assert nothing_staged(store)


@pytest.mark.parametrize("piece", [100, 5000, 1 << 20])
def test_the_same_tar_comes_out(store: Store, tar: TarMaker, piece: int) -> None:
    data = tar(
        ("./dir/", None),
        ("dir/\xff\udcfe", b"odd name"),
        ('quo"te\n', b"q"),
        ("dir/big", os.urandom(300_000)),
        ("empty", b""),
        ("dir/.wh.gone", b""),
        ("n" * 200, b"long"),
    ) + bytes(5000)
    assert whole(store, add(store, None, data, piece)) == data


def test_replaced_and_sparse_members_come_out_as_well(store: Store, tar: TarMaker, place: Path) -> None:
    link = tarfile.TarInfo("d")
    link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
    data = tar(
        ("twice", b"first" * 1000),
        ("twice", b"second"),
        ("d", None),
        ("d/x", b"under the link"),
        link,
        ("twice", b"third"),
        ("e", b"1"),
        ("e", b""),
        ("e", None),
        ("f/.wh..wh.plnk/x", b"aufs leftover"),
        (".wh..wh.aufs", b"more of it"),
    )
    assert whole(store, add(store, None, data)) == data
    with open(place / "s", "wb") as file:
        file.seek(100_000)
        file.write(b"x" * 70_000)
        file.truncate(1_000_000)
    for format in ("gnu", "pax"):
        sparse = os.popen(f"tar -C {place} -S --format={format} -cf - s").buffer.read()  # type: ignore[attr-defined]
        assert whole(store, add(store, None, sparse)) == sparse


CONTENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "d", "d/a", "d/b", "./a", ".wh.a", "d/.wh..wh..opq"]), st.binary(max_size=40)),
    max_size=10,
)


@settings(max_examples=60)
@given(CONTENTS)
def test_any_order_of_members_comes_out(store: Store, tar: TarMaker, members: list[tuple[str, bytes]]) -> None:
    data = tar(*members)
    try:
        id = add(store, None, data)
    except InvalidArgument:
        return
    assert whole(store, id) == data


def test_a_changed_file_is_noticed(store: Store, tar: TarMaker) -> None:
    id = add(store, None, tar(("a", b"right")))
    path = Path(store.driver.own_directories(id)[0]) / "a"
    path.write_bytes(b"wrong")
    with pytest.raises(DataLoss, match="changed"):
        whole(store, id)
    path.unlink()
    with pytest.raises(DataLoss, match="missing"):
        whole(store, id)
    os.unlink(store.layer_store.tar_split_path(id))
    with pytest.raises(DataLoss, match="pull the image again"):
        whole(store, id)


def test_what_was_not_committed_leaves_nothing(store: Store, tar: TarMaker) -> None:
    with store.stage_layer() as writer:
        writer.write(tar(("a", b"x")))
    with pytest.raises(InvalidArgument), store.stage_layer() as writer:
        writer.write(b"this is not a tar archive" * 100)
    with store.stage_layer() as writer:
        writer.write(tar(("a", b"x")))
        with pytest.raises(DataLoss, match="expected was"):
            writer.commit(None, "sha256:" + "0" * 64)
    with store.stage_layer() as writer:
        writer.write(tar(("a", b"x")))
        with pytest.raises(DataLoss, match="bytes"):
            writer.commit(None, None, 5)
        with pytest.raises(NotFound, match="layer"):
            writer.commit("f" * 64)
    assert store.layers() == []
    assert nothing_staged(store)
    assert list(store.driver.layer_ids()) == []


def test_cut_input_is_refused(store: Store, tar: TarMaker) -> None:
    with store.stage_layer() as writer:
        writer.write(tar(("a", b"x" * 5000))[:2000])
        with pytest.raises(InvalidArgument, match="end"):
            writer.commit(None)
    assert store.layers() == []


def test_a_layer_that_is_there_already_is_taken(store: Store, tar: TarMaker) -> None:
    data = tar(("a", b"x"))
    first = add(store, None, data)
    inode = os.stat(store.driver.own_directories(first)[0]).st_ino
    assert add(store, None, data) == first
    assert os.stat(store.driver.own_directories(first)[0]).st_ino == inode
    assert nothing_staged(store)


def test_layers_unpack_at_the_same_time(store: Store, tar: TarMaker) -> None:
    """Two half-written layers exist side by side, and each commit only needs its parent."""
    layers = [tar((f"f{k}", os.urandom(1000))) for k in range(6)]
    ids: dict[int, str] = {}
    barrier = threading.Barrier(6)
    turn = threading.Condition()

    def work(k: int) -> None:
        with store.stage_layer() as writer:
            writer.write(layers[k][:700])
            barrier.wait(60)
            writer.write(layers[k][700:])
            with turn:
                turn.wait_for(lambda: k == 0 or k - 1 in ids, 60)
                ids[k] = writer.commit(ids.get(k - 1)).id
                turn.notify_all()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [layer.id for layer in store.layer_store.chain(ids[5])] == [ids[k] for k in range(5, -1, -1)]
    assert [whole(store, ids[k]) for k in range(6)] == layers


def test_a_full_disk_is_told_and_leaves_nothing(place: Path, tar: TarMaker) -> None:
    small = place / "small"
    small.mkdir()
    mount("tmpfs", str(small), "tmpfs", 0, "size=2m")
    with Store.open(StoreOptions(str(small / "graph"), str(place / "run"))) as store:
        with pytest.raises(ResourceExhausted, match="free space"), store.stage_layer() as writer:
            writer.write(tar(("big", bytes(range(256)) * 20_000)))
        assert nothing_staged(store)
        assert add(store, None, tar(("small", b"x")))
