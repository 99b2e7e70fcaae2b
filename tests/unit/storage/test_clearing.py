from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.base.ids import new_id
from crio.linux.mount import bind, mounts_below
from crio.storage.clearing import clear_storage, containers_below
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


def test_everything_goes_but_what_is_mounted(
    options: StoreOptions, place: Path, tar: TarMaker, add_image: ImageMaker
) -> None:
    root = options.graphroot
    with Store.open(options) as store:
        image = add_image(store, "localhost/a:1", tar(("a", b"1")))
        id = new_id()
        store.create_container(id, names=["c"], image_id=image.id)
        point = store.mount_container(id)
        assert containers_below(root) == [point]
        with pytest.raises(FailedPrecondition, match=f"{point} is mounted; stop"):
            clear_storage(root)
        assert store.image(image.id)
    outside = place / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    os.mkdir(f"{root}/volumes")
    bind(str(outside), f"{root}/volumes")
    clear_storage(root, unmount=True)
    assert os.listdir(root) == []
    assert mounts_below(root) == []
    assert os.listdir(outside) == ["kept"]
    clear_storage(str(place / "none"))
