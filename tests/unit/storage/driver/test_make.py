from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import FailedPrecondition
from crio.storage.driver.make import check_root, make_driver
from crio.storage.options import StoreOptions


@pytest.mark.parametrize("name", ["overlay", "vfs", "btrfs"])
def test_the_driver_that_is_named(options: StoreOptions, name: str) -> None:
    driver = make_driver(replace(options, driver=name), "/images")
    assert driver.name == name
    assert driver.writable_homes == [f"{options.graphroot}/{name}", f"/images/{name}"]


def test_images_of_another_driver(options: StoreOptions) -> None:
    index = Path(options.graphroot) / "zfs-images/images.json"
    index.parent.mkdir(parents=True)
    check_root(options)
    index.write_text("[]")
    check_root(options)
    index.write_text('[{"id":"x"}]')
    with pytest.raises(FailedPrecondition, match="driver zfs; set storage_driver to zfs"):
        check_root(options)
    own = Path(options.graphroot) / "overlay-layers/layers.json"
    own.parent.mkdir()
    own.write_text('[{"id":"x"}]')
    check_root(options)
