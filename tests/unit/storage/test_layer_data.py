from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

import images
from crio.base.errors import NotFound
from crio.storage import layer_data
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root

KEY = "some-table"


@pytest.fixture
def root() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="crio-data-", dir="/dev/shm")
    yield directory
    subprocess.run(["umount", "-lq", f"{directory}/graph/overlay"], check=False)
    shutil.rmtree(directory)


def add(store: Store, text: str, parent: str | None = None) -> str:
    with store.stage_layer() as writer:
        writer.write(images.layer({"file": text}))
        return writer.commit(parent).id


def test_data_stay_with_their_layer_and_go_with_it(root: str) -> None:
    options = StoreOptions(f"{root}/graph", f"{root}/run", sync=False)
    with Store.open(options) as store:
        first = add(store, "one")
        second = add(store, "two", first)
        layer_data.write(store, first, KEY, b"old")
        layer_data.write(store, first, KEY, b"new")
        layer_data.write(store, second, KEY, b"other")
        with pytest.raises(NotFound):
            layer_data.write(store, "0" * 64, KEY, b"x")
        with pytest.raises(NotFound):
            layer_data.read(store, first, "another-key")
    with Store.open(options) as store:
        assert layer_data.read(store, first, KEY) == b"new"
        assert store.layer(first).big_data_names == [KEY]
        assert list(layer_data.holders(store, KEY)) == [second, first], "the newest first"
        assert list(layer_data.holders(store, "another-key")) == []
        store.remove_layer(second)
        assert list(layer_data.holders(store, KEY)) == [first]
        assert os.listdir(f"{root}/graph/overlay-layers/{first}") == ["=c29tZS10YWJsZQ=="]
        assert not os.path.exists(f"{root}/graph/overlay-layers/{second}")
