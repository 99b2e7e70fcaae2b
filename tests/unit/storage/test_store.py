from __future__ import annotations

import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from crio.base.ids import new_id
from crio.linux.mount import is_mount_point, mounts_below
from crio.storage.check import check
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store
from crio.storage.unpack import MAX_IDS
from open_files import open_files
from store_mounts import unmount, users

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


def base(tar: TarMaker) -> bytes:
    return tar(("etc", None), ("etc/hostname", b"image"), ("gone", b"x"), ("dir", None), ("dir/old", b"old"))


def upper(tar: TarMaker) -> bytes:
    return tar((".wh.gone", b""), ("dir/.wh..wh..opq", b""), ("dir/new", b"new"))


def container(store: Store, image: str | None, **fields: object) -> str:
    id = new_id()
    fields = {"names": [f"k8s_{id[:12]}"], "metadata": '{"pod-name":"p"}', **fields}
    store.create_container(id, image_id=image, **fields)  # type: ignore[arg-type]
    return id


def test_a_layer_of_countless_owners_does_not_fill_the_index(store: Store) -> None:
    """They need no files of their own: a name may come again and again."""
    many = 2 * MAX_IDS + 100
    with store.stage_layer() as writer:
        for number in range(many):
            member = tarfile.TarInfo("a")
            member.type, member.uid, member.gid = tarfile.FIFOTYPE, number, many - number
            writer.write(member.tobuf(tarfile.GNU_FORMAT))
        layer = writer.commit(None)
    # The largest count: they say how large a user namespace has to be for the image.
    assert layer.uidset == list(range(many - MAX_IDS, many))
    assert layer.gidset == list(range(many - MAX_IDS + 1, many + 1))


# Images


def test_images_are_found_by_id_name_and_prefix(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar), upper(tar))
    assert store.images() == [image]
    for name in (image.id, "localhost/a:1", image.id[:10]):
        assert store.image(name) == image
    with pytest.raises(NotFound):
        store.image("localhost/b:1")
    assert image.digests == [image.digest]
    assert json.loads(store.image_big_data(image.id, "manifest"))["schemaVersion"] == 2
    with pytest.raises(NotFound):
        store.image_big_data(image.id, "nothing")
    layers = sum(len(data) for data in (base(tar), upper(tar)))
    assert store.image_size(image.id) == layers + sum(image.big_data_sizes.values())


def test_a_time_that_other_tools_cannot_read_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="'yesterday' is not a time"):
        store.put_image(new_id(), layer=None, names=["localhost/a:1"], created="yesterday", big_data={})
    assert store.images() == []


def test_a_name_moves_to_the_last_image_that_gets_it(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    first = add_image(store, "localhost/a:1", base(tar))
    second = add_image(store, "localhost/a:1", base(tar), upper(tar))
    assert store.image("localhost/a:1").id == second.id
    assert store.image(first.id).names == []
    assert store.image(first.id).names_history == ["localhost/a:1"]
    store.put_image(first.id, layer=first.layer, names=["localhost/b:1", "localhost/a:1"], big_data={})
    assert store.image(first.id).names == ["localhost/b:1", "localhost/a:1"]
    assert store.image(first.id).names_history == ["localhost/a:1", "localhost/b:1"]
    assert store.image(second.id).names == []


def test_an_image_put_again_gets_names_and_keeps_the_rest(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    add_image(store, "localhost/a:1", base(tar))
    image = add_image(store, "localhost/b:1", base(tar))
    assert image.names == ["localhost/a:1", "localhost/b:1"]
    assert len(store.images()) == 1
    assert len(image.big_data_names) == len(set(image.big_data_names)) == 3


def test_an_image_needs_its_layer(store: Store) -> None:
    with pytest.raises(NotFound, match="layer"):
        store.put_image("a" * 64, layer="b" * 64, names=[], big_data={})
    with pytest.raises(InvalidArgument):
        store.put_image("../x", layer=None, names=[], big_data={})
    assert store.put_image("a" * 64, layer=None, names=["x"], big_data={}).layer == ""


def test_removal_takes_the_layers_that_nothing_else_needs(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    small = add_image(store, "localhost/a:1", base(tar))
    large = add_image(store, "localhost/b:1", base(tar), upper(tar))
    assert store.remove_image(large.id) == [large.layer]
    assert [layer.id for layer in store.layers()] == [small.layer]
    assert store.remove_image(small.id) == [small.layer]
    assert store.layers() == []
    assert os.listdir(os.path.join(store.driver.home, "l")) == []
    assert not [name for name in os.listdir(store.layer_store.directories[0]) if name.endswith(".gz")]
    with pytest.raises(NotFound):
        store.remove_image(small.id)


def test_a_parent_that_is_an_image_of_its_own_stays(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    small = add_image(store, "localhost/a:1", base(tar))
    large = add_image(store, "localhost/b:1", base(tar), upper(tar))
    assert store.remove_image(small.id) == []
    assert store.remove_image(large.id) == [large.layer, small.layer]


def test_an_image_in_use_stays(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar))
    id = container(store, image.id)
    with pytest.raises(FailedPrecondition, match="container k8s_"):
        store.remove_image(image.id)
    with pytest.raises(FailedPrecondition, match="stands on it"):
        store.remove_layer(image.layer)
    with pytest.raises(FailedPrecondition, match="container"):
        store.remove_layer(store.container(id).layer)
    store.remove_container(id)
    with pytest.raises(FailedPrecondition, match="image"):
        store.remove_layer(image.layer)
    store.remove_image(image.id)


# Containers


def test_a_container_lives_and_leaves_nothing(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar), upper(tar))
    id = container(store, image.id)
    root = Path(store.mount_container(id))
    assert is_mount_point(str(root))
    assert (root / "etc/hostname").read_text() == "image"
    assert not (root / "gone").exists()
    assert os.listdir(root / "dir") == ["new"]
    (root / "etc/hostname").write_text("mine")
    (root / "data").write_bytes(b"x" * 100_000)
    before = store.container_usage(id)
    assert before.bytes >= 100_000
    assert before.inodes == 4
    userdata = Path(store.options.graphroot, "overlay-containers", id, "userdata")
    userdata.mkdir(parents=True)
    (userdata / "config.json").write_text("{}")
    assert users(store, id) == 1
    assert not unmount(store, id)
    assert not os.path.ismount(root)
    root = Path(store.mount_container(id))
    assert (root / "etc/hostname").read_text() == "mine"
    layer = store.container(id).layer
    store.remove_container(id)
    assert store.containers() == []
    assert layer not in list(store.driver.layer_ids())
    assert not userdata.exists()
    assert mounts_below(store.driver.home, include_itself=False) == []
    with pytest.raises(NotFound):
        store.remove_container(id)
    image_root = Path(store.driver.own_directories(store.layer_store.chain(image.layer)[1].id)[0])
    assert (image_root / "etc/hostname").read_text() == "image"


def test_mounts_are_counted(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    id = container(store, add_image(store, "localhost/a:1", base(tar)).id)
    assert store.mount_container(id) == store.mount_container(id)
    assert users(store, id) == 2
    assert unmount(store, id)
    assert not unmount(store, id)
    assert users(store, id) == 0
    assert not unmount(store, id)
    store.mount_container(id)
    store.mount_container(id)
    assert not unmount(store, id, wholly=True)
    store.mount_container(id)
    store.remove_container(id)


def test_records_are_what_every_tool_reads(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar))
    id = container(store, image.id, names=["one", "two"], mount_label="", metadata='{"pod-id":"x"}')
    graph = Path(store.options.graphroot)
    (row,) = json.loads((graph / "overlay-containers/containers.json").read_bytes())
    assert row["names"] == ["one", "two"]
    assert (row["image"], row["metadata"]) == (image.id, '{"pod-id":"x"}')
    assert row["flags"] == {"MountLabel": "", "ProcessLabel": "", "Volatile": True}
    rows = json.loads((graph / "overlay-layers/layers.json").read_bytes())
    assert [row["names"] for row in rows if row["id"] == store.container(id).layer] == [["one-layer"]]
    assert store.container("two").id == id
    assert store.container(id[:12]).id == id


def test_volatile_files_are_used_where_a_newer_tool_has_begun(
    store: Store, tar: TarMaker, add_image: ImageMaker
) -> None:
    image = add_image(store, "localhost/a:1", base(tar))
    graph = Path(store.options.graphroot)
    files = [graph / f"overlay-{kind}/volatile-{kind}.json" for kind in ("containers", "layers")]
    for file in files:
        file.write_text("[]")
    id = container(store, image.id)
    lasting = container(store, image.id, volatile=False)
    for file, ids in zip(files, ({id}, {store.container(id).layer}), strict=True):
        assert {row["id"] for row in json.loads(file.read_bytes())} == ids
    with Store.open(store.options) as again:
        assert {record.id for record in again.containers()} == {id, lasting}
        again.remove_container(id)
    assert [record.id for record in store.containers()] == [lasting]


def test_transient_stores_keep_containers_in_the_run_directory(
    options: StoreOptions, tar: TarMaker, add_image: ImageMaker
) -> None:
    with Store.open(replace(options, transient=True)) as store:
        id = container(store, add_image(store, "localhost/a:1", base(tar)).id)
        store.mount_container(id)
        graph, run = Path(options.graphroot), Path(options.runroot)
        assert not (graph / "overlay-containers/containers.json").exists()
        assert id in (run / "overlay-containers/volatile-containers.json").read_text()
        assert store.container(id).layer in (run / "overlay-layers/volatile-layers.json").read_text()
        store.remove_container(id)


def test_names_and_ids_are_unique(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar))
    id = container(store, image.id, names=["a"])
    before = len(list(store.driver.layer_ids()))
    with pytest.raises(AlreadyExists, match="'a'"):
        container(store, image.id, names=["b", "a"])
    with pytest.raises(AlreadyExists, match="id"):
        store.create_container(id, names=["c"], image_id=image.id)
    with pytest.raises(NotFound, match="image"):
        container(store, "f" * 64)
    with pytest.raises(InvalidArgument):
        store.create_container("../x", names=[], image_id=None)
    assert len(list(store.driver.layer_ids())) == before
    assert len(store.containers()) == 1


def test_a_container_without_an_image(store: Store) -> None:
    id = container(store, None)
    root = Path(store.mount_container(id))
    (root / "x").write_text("1")
    assert os.listdir(root) == ["x"]
    store.remove_container(id)


def test_volatile_mounts_come_back_after_a_crash(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    """The kernel leaves a mark that refuses the next mount; a lasting container does not get the option."""
    image = add_image(store, "localhost/a:1", base(tar))
    id, lasting = container(store, image.id), container(store, image.id, volatile=False)
    (Path(store.mount_container(id)) / "x").write_text("1")
    store.mount_container(lasting)
    options = {info.mount_point: info.super_options for info in mounts_below(store.driver.home)}
    assert "volatile" in options[store.mount_container(id)]
    assert "volatile" not in options[store.mount_container(lasting)]
    layer = store.container(id).layer
    unmount(store, id, wholly=True)
    mark = Path(store.driver.home, layer, "work/work/incompat/volatile")
    mark.mkdir(parents=True, exist_ok=True)
    (mark / "dirty").write_text("")
    assert (Path(store.mount_container(id)) / "x").read_text() == "1"


def test_an_unmount_behind_the_stores_back_is_mended(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    id = container(store, add_image(store, "localhost/a:1", base(tar)).id)
    root = store.mount_container(id)
    store.driver.unmount(store.container(id).layer)
    assert not is_mount_point(root)
    assert is_mount_point(store.mount_container(id))
    store.remove_container(id)


def test_mount_options_of_a_container(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    id = container(store, add_image(store, "localhost/a:1", base(tar)).id, mount_options=["nodev", "noexec"])
    root = store.mount_container(id)
    (info,) = mounts_below(root)
    assert {"nodev", "noexec"} <= set(info.options.split(","))


def test_a_container_mounts_read_only(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    for layers in ([base(tar)], [base(tar), upper(tar)]):
        id = container(store, add_image(store, "localhost/a:1", *layers).id)
        root = Path(store.mount_container(id, read_only=True))
        assert (root / "etc/hostname").read_text() == "image"
        with pytest.raises(OSError, match="Read-only"):
            (root / "x").write_text("")
        store.remove_container(id)


def test_many_layers(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    """More than fit into one page of mount options."""
    layers = [tar((f"f{k}", str(k).encode()), ("last", str(k).encode())) for k in range(130)]
    image = add_image(store, "localhost/many:1", *layers)
    id = container(store, image.id)
    root = Path(store.mount_container(id))
    assert len(os.listdir(root)) == 131
    assert (root / "last").read_text() == "129"
    store.remove_container(id)
    assert len(store.remove_image(image.id)) == 130


def test_lost_links_are_made_again_at_mount(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    id = container(store, add_image(store, "localhost/a:1", base(tar), upper(tar)).id)
    links = Path(store.driver.home, "l")
    for link in links.iterdir():
        link.unlink()
    assert (Path(store.mount_container(id)) / "etc/hostname").exists()
    assert len(list(links.iterdir())) == 3
    store.remove_container(id)


@pytest.mark.parametrize("damage", [b"", b'[{"id":"12'])
def test_a_power_cut_costs_no_image(options: StoreOptions, tar: TarMaker, add_image: ImageMaker, damage: bytes) -> None:
    """Some file systems show an empty or cut file when the power goes right after an index was replaced."""
    with Store.open(options) as store:
        image = add_image(store, "localhost/a:1", base(tar), upper(tar))
        for _ in range(3):
            container(store, image.id)
    for name in ("overlay-layers/layers.json", "overlay-containers/containers.json"):
        Path(options.graphroot, name).write_bytes(damage)
    with Store.open(options) as store:
        collect(store)
        assert store.images() == [image]
        assert len(store.layers()) == 2
        assert check(store).healthy
        assert len(list(store.driver.layer_ids())) == 2
        assert json.loads(Path(options.graphroot, "overlay-layers/layers.json").read_bytes())
        container(store, image.id)


# Several at once


def test_threads_share_a_store(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", base(tar))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                id = container(store, image.id)
                assert os.path.exists(os.path.join(store.mount_container(id), "etc/hostname"))
                store.remove_container(id)
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.containers() == []
    assert len(list(store.driver.layer_ids())) == 1


def test_two_stores_of_one_root_see_each_other(
    store: Store, options: StoreOptions, tar: TarMaker, add_image: ImageMaker
) -> None:
    with Store.open(options) as other:
        image = add_image(other, "localhost/a:1", base(tar))
        assert store.images() == [image]
        id = container(store, image.id)
        assert other.container(id).image == image.id
        root = other.mount_container(id)
        assert store.mount_container(id) == root
        assert users(other, id) == 2
    assert is_mount_point(root)
    store.remove_container(id)


# Stores beside the store


def test_read_only_stores_are_used_and_never_changed(place: Path, tar: TarMaker, add_image: ImageMaker) -> None:
    shared = StoreOptions(str(place / "shared"), str(place / "shared-run"))
    with Store.open(shared) as store:
        image = add_image(store, "localhost/a:1", base(tar))
    before = (place / "shared/overlay-images/images.json").read_bytes()
    mine = StoreOptions(str(place / "graph"), str(place / "run"), additional_image_stores=[shared.graphroot])
    with Store.open(mine) as store:
        assert store.image("localhost/a:1") == image
        assert store.image_big_data(image.id, "manifest")
        assert store.image_size(image.id) > 0
        id = container(store, image.id)
        assert (Path(store.mount_container(id)) / "etc/hostname").read_text() == "image"
        larger = add_image(store, "localhost/b:1", base(tar), upper(tar))
        assert store.layer(larger.layer).parent == image.layer
        with pytest.raises(FailedPrecondition, match="read-only"):
            store.remove_image(image.id)
        assert b"".join(store.layer_tar(image.layer)) == base(tar)
        store.remove_container(id)
        assert store.remove_image(larger.id) == [larger.layer]
        assert list(store.driver.layer_ids()) == []
    assert (place / "shared/overlay-images/images.json").read_bytes() == before


def test_images_may_have_a_file_system_of_their_own(place: Path, tar: TarMaker, add_image: ImageMaker) -> None:
    options = StoreOptions(str(place / "graph"), str(place / "run"), imagestore=str(place / "images"))
    with Store.open(options) as store:
        image = add_image(store, "localhost/a:1", base(tar), upper(tar))
        id = container(store, image.id)
        assert (place / "images/overlay" / image.layer / "diff").is_dir()
        assert (place / "graph/overlay" / store.container(id).layer / "diff").is_dir()
        assert (place / "images/overlay-images/images.json").exists()
        assert (Path(store.mount_container(id)) / "etc/hostname").read_text() == "image"
        assert b"".join(store.layer_tar(image.layer)) == upper(tar)
        store.remove_container(id)
        store.remove_image(image.id)
    assert os.listdir(place / "images/overlay/l") == []
    assert json.loads((place / "images/overlay-layers/layers.json").read_bytes()) == []


# Accounting, closing


def test_usage_comes_from_the_records(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    empty = store.fs_usage()
    image = add_image(store, "localhost/a:1", base(tar))
    container(store, image.id)
    usage = store.fs_usage()
    assert usage.bytes - empty.bytes == store.image_size(image.id)
    assert usage.inodes - empty.inodes == 5 + 4


def test_closing_leaves_no_mount_unless_a_container_has_one(
    options: StoreOptions, tar: TarMaker, add_image: ImageMaker
) -> None:
    with Store.open(options) as store:
        home = store.driver.home
        assert is_mount_point(home)
    assert mounts_below(home) == []
    with Store.open(options) as store:
        id = container(store, add_image(store, "localhost/a:1", base(tar)).id)
        root = store.mount_container(id)
    assert is_mount_point(root)
    with Store.open(options) as store:
        assert store.mount_container(id) == root
        assert users(store, id) == 2
        store.remove_container(id)
    assert mounts_below(home) == []
    assert os.listdir(os.path.join(home, "tempdirs")) == []


def test_no_descriptors_or_threads_are_left(options: StoreOptions, tar: TarMaker, add_image: ImageMaker) -> None:
    Store.open(options).close()
    descriptors, threads = open_files(), threading.active_count()
    for _ in range(3):
        with Store.open(options) as store:
            id = container(store, add_image(store, "localhost/a:1", base(tar)).id)
            store.mount_container(id)
            store.remove_container(id)
    assert open_files() == descriptors
    assert threading.active_count() <= threads


def test_a_store_of_a_mount_program_is_refused(options: StoreOptions) -> None:
    home = Path(options.graphroot, "overlay")
    home.mkdir(parents=True)
    (home / ".has-mount-program").write_text("true")
    before = open_files()
    with pytest.raises(FailedPrecondition, match="fuse-overlayfs"):
        Store.open(options)
    assert open_files() == before
