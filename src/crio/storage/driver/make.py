"""From options to a driver."""

from __future__ import annotations

import os

from crio.storage.driver.base import Driver
from crio.storage.driver.overlay import OverlayDriver
from crio.storage.options import StoreOptions


def make_driver(options: StoreOptions, image_root: str | None) -> Driver:
    """The driver that `options` name; `image_root` is where images are kept apart, if they are."""
    name = options.driver
    home = os.path.join(options.graphroot, name)
    image_home = os.path.join(image_root, name) if image_root else None
    other_homes = [os.path.join(other, name) for other in options.additional_image_stores]
    if name == "vfs":
        from crio.storage.driver.vfs import VfsDriver  # lazy: hardly anybody uses it

        return VfsDriver(home, image_home=image_home, other_homes=other_homes)
    return OverlayDriver(
        home,
        image_home=image_home,
        other_homes=other_homes,
        mount_options=options.mount_options,
        skip_mount_home=options.flag("skip_mount_home"),
    )
