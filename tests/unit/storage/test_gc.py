from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crio.base.ids import new_id
from crio.storage.gc import collect, find
from crio.storage.records import ImageRecord
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


def test_a_store_without_garbage_stays_as_it_is(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", tar(("a", b"1")), tar(("b", b"2")))
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id)
    Path(store.options.graphroot, "overlay-containers", id, "userdata").mkdir(parents=True)
    store.mount_container(id)
    before = sorted(str(path) for path in Path(store.options.graphroot).rglob("*"))
    assert collect(store) == []
    assert sorted(str(path) for path in Path(store.options.graphroot).rglob("*")) == before


def test_what_no_record_names_goes(store: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/a:1", tar(("a", b"1")))
    graph = Path(store.options.graphroot)
    stray = new_id()
    store.driver.create(stray, image.layer, staged=None, image=False, discard=store.layer_store.discard)
    assert len(os.listdir(graph / "overlay/l")) == 2
    garbage = [
        graph / "overlay-layers" / f"{stray}.tar-split.gz",
        graph / "overlay-layers/.tmp-layers.json0011",
        Path(store.options.runroot, "overlay-layers/.tmp-mountpoints.json0011"),
        graph / "overlay-images" / stray / "manifest",
        graph / "overlay-containers" / stray / "userdata/config.json",
        Path(store.options.runroot, "overlay-containers", stray, "userdata/x"),
    ]
    others = [graph / "overlay-images/notes", graph / "overlay-containers/mine/x", graph / "overlay-layers/README"]
    for path in garbage + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    seen = find(store)
    assert all(path.exists() for path in garbage)
    removed = collect(store)
    assert removed == seen
    assert len(removed) == 7
    assert find(store) == []
    assert not any(path.exists() for path in garbage)
    assert all(path.exists() for path in others)
    assert list(store.driver.layer_ids()) == [image.layer]
    assert len(os.listdir(graph / "overlay/l")) == 1
    assert collect(store) == []


def test_the_layer_of_a_container_that_was_never_recorded_goes(
    store: Store, tar: TarMaker, add_image: ImageMaker
) -> None:
    image = add_image(store, "localhost/a:1", tar(("a", b"1")))
    kept = store.create_container(new_id(), names=["k8s_kept"], image_id=image.id)
    orphans = []
    for name in ("k8s_lost", "someone-elses"):
        container = store.create_container(new_id(), names=[name], image_id=image.id)
        with store.container_store.table.writing() as edit:
            edit.drop(container.id)
            edit.save()
        orphans.append(container.layer)
    assert collect(store) == orphans[:1]
    assert set(store.driver.layer_ids()) == {image.layer, kept.layer, orphans[1]}
    assert collect(store) == []
