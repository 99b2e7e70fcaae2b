"""Sizes come from records: how much is looked at does not grow with what lies in the layers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crio.storage.accounting import INODES_FLAG
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord, replaced
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]

_LAYERS = 1000
_LOOKS = ("open", "os.scandir", "os.listdir")


class Audit:
    """Files and directories that this thread opens while it listens."""

    def __init__(self) -> None:
        self.listening = False
        self.opened: list[str] = []
        self._thread = threading.current_thread()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.listening and event in _LOOKS and threading.current_thread() is self._thread:
            self.opened.append(str(arguments[0]))


@pytest.fixture(scope="module")
def audit() -> Audit:
    return Audit()


@pytest.fixture
def heard(audit: Audit) -> Iterator[list[str]]:
    audit.opened.clear()
    yield audit.opened
    audit.listening = False


@pytest.fixture
def large(options: StoreOptions) -> tuple[StoreOptions, int]:
    """A store of 1,000 layers in 100 images, as records tell of it, and how many bytes that is."""
    layers, images = [], []
    for number in range(_LAYERS):
        id = f"{number + 1:064x}"
        layers.append(
            {
                "id": id,
                "created": "2024-01-01T00:00:00Z",
                "parent": f"{number:064x}" if number % 10 else None,
                "diff-digest": f"sha256:{id}",
                "diff-size": 1000,
                "flags": {INODES_FLAG: 7},
            }
        )
        if number % 10 == 9:
            image = {"id": id, "layer": id, "created": "2024-01-01T00:00:00Z", "names": [f"localhost/i:{number}"]}
            images.append({**image, "big-data-names": ["manifest"], "big-data-sizes": {"manifest": 10}})
    for kind, rows in (("layers", layers), ("images", images)):
        path = Path(options.graphroot, f"overlay-{kind}/{kind}.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(rows))
    return options, _LAYERS * 1000 + len(images) * 10


def test_a_thousand_layers_cost_no_look_at_the_disk(
    large: tuple[StoreOptions, int], audit: Audit, heard: list[str]
) -> None:
    options, total = large
    with Store.open(options) as store:
        store.layers()
        audit.listening = True
        usage = store.fs_usage()
        sizes = [store.image_size(image.id) for image in store.images()]
        audit.listening = False
        assert heard == []
        assert (usage.bytes, usage.inodes) == (total, _LAYERS * 7 + 200)
        assert sizes == [10 * 1000 + 10] * 100


def test_after_a_change_only_the_index_is_read(large: tuple[StoreOptions, int], audit: Audit, heard: list[str]) -> None:
    options, _ = large
    with Store.open(options) as store, Store.open(options) as other:
        store.fs_usage()
        other.put_image(f"{10:064x}", layer=None, names=["localhost/new:1"], big_data={})
        audit.listening = True
        store.fs_usage()
        audit.listening = False
        assert heard == [f"{options.graphroot}/overlay-images/images.json"]


def test_inodes_of_foreign_layers_are_counted_once(
    store: Store, options: StoreOptions, tar: TarMaker, add_image: ImageMaker, audit: Audit, heard: list[str]
) -> None:
    image = add_image(store, "localhost/a:1", tar(("d", None), ("d/a", b"1")))
    with store.layer_store.table.writing() as edit:
        edit.put(replaced(edit.now.by_id[image.layer], flags={}))
        edit.save()
    counted = store.fs_usage()
    assert counted.inodes == 3 + 4
    with Store.open(options) as again:
        again.layers()
        audit.listening = True
        assert again.fs_usage() == counted
        audit.listening = False
        assert [path for path in heard if "diff" in path] == []
