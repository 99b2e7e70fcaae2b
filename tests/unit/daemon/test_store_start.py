from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import DataLoss, FailedPrecondition
from crio.base.ids import new_id
from crio.config.marks import LastRun
from crio.config.tables.root import Crio
from crio.container.stored import StoredContainer
from crio.daemon.store_start import open_store, outdated_images, remove_images
from crio.linux.mount import unmount_below
from crio.storage.deletion import delete_tree
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root

CLEAN = LastRun(rebooted=True, upgraded=False, unclean=False)
CRASHED = LastRun(rebooted=True, upgraded=False, unclean=True)
UPGRADED = LastRun(rebooted=True, upgraded=True, unclean=False)
POD = StoredContainer(
    pod_name="p", pod_id="0" * 64, image_name="i", image_id="i", name="c", metadata_name="c", created_at=1
).text()


@pytest.fixture
def options() -> Iterator[StoreOptions]:
    place = tempfile.mkdtemp(prefix="crio-start-", dir="/dev/shm")
    yield StoreOptions(f"{place}/graph", f"{place}/run", lock_timeout=60)
    unmount_below(place)
    delete_tree(place)


def _add_image(store: Store) -> str:
    with store.stage_layer() as writer:
        writer.write(bytes(1024))
        layer = writer.commit(None)
    id = new_id()
    store.put_image(id, layer=layer.id, names=[f"localhost/{id}:1"], big_data={"manifest": b"{}"})
    return id


def test_a_clean_start_only_collects_garbage(options: StoreOptions) -> None:
    with Store.open(options) as store:
        id = _add_image(store)
        os.unlink(f"{options.graphroot}/overlay-images/{id}/manifest")
    stray = Path(options.graphroot, "overlay", new_id())
    stray.mkdir()
    with open_store(options, Crio(), CLEAN) as store:
        assert not stray.exists()
        assert [image.id for image in store.images()] == [id]
    # After a crash what is damaged goes as well, unless nothing may be repaired.
    with open_store(options, Crio(internal_repair=False), CRASHED) as store:
        assert [image.id for image in store.images()] == [id]
    with open_store(options, Crio(), CRASHED) as store:
        assert store.images() == []


def test_what_a_crash_made_unreadable_is_emptied(options: StoreOptions) -> None:
    with Store.open(options) as store:
        _add_image(store)
    Path(options.graphroot, "overlay-images/images.json").write_text("[{")
    for crio, last in ((Crio(), CLEAN), (Crio(internal_repair=False), CRASHED)):
        with pytest.raises(DataLoss, match=r"images\.json"), open_store(options, crio, last):
            pass
    with open_store(options, Crio(), CRASHED) as store:
        assert (store.images(), store.layers()) == ([], [])


def test_it_is_not_emptied_under_containers(options: StoreOptions) -> None:
    with Store.open(options) as store:
        id = new_id()
        store.create_container(id, names=["c"], image_id=None)
        point = store.mount_container(id)
    index = Path(options.graphroot, "overlay-layers/layers.json")
    index.write_text("[{")
    index.with_name("layers.json.crio-saved").unlink()
    with pytest.raises(FailedPrecondition, match=point), open_store(options, Crio(), CRASHED):
        pass


def test_an_upgrade_removes_the_images_of_our_containers(options: StoreOptions) -> None:
    with Store.open(options) as store:
        ours, shared, unused = (_add_image(store) for _ in range(3))
        mine = [new_id(), new_id()]
        for container, image in zip(mine, (ours, shared), strict=True):
            store.create_container(container, names=[container], image_id=image, metadata=POD)
        store.create_container(new_id(), names=["podman"], image_id=shared, metadata="{}")
        assert outdated_images(store, Crio(), CLEAN) == set()
        assert outdated_images(store, Crio(internal_wipe=False), UPGRADED) == set()
        outdated = outdated_images(store, Crio(), UPGRADED)
        assert outdated == {ours, shared}
        for container in mine:
            store.remove_container(container)
        remove_images(store, outdated)
        assert {image.id for image in store.images()} == {shared, unused}
