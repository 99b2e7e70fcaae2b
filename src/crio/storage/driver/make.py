"""From options to a driver."""

from __future__ import annotations

import os

from crio.base.errors import FailedPrecondition
from crio.storage.driver.base import Driver
from crio.storage.driver.overlay import OverlayDriver
from crio.storage.options import StoreOptions

_EVER = ("overlay", "vfs", "btrfs", "zfs", "aufs", "devicemapper")
_EMPTY_INDEX = 2


def make_driver(options: StoreOptions, image_root: str | None) -> Driver:
    """The driver that `options` name; `image_root` is where images are kept apart, if they are."""
    name = options.driver
    home = os.path.join(options.graphroot, name)
    image_home = os.path.join(image_root, name) if image_root else None
    other_homes = [os.path.join(other, name) for other in options.additional_image_stores]
    if name == "vfs":
        from crio.storage.driver.vfs import VfsDriver  # lazy: hardly anybody uses it

        return VfsDriver(home, image_home=image_home, other_homes=other_homes)
    if name == "btrfs":
        from crio.storage.driver.btrfs import BtrfsDriver  # lazy, as vfs

        return BtrfsDriver(
            home,
            image_home=image_home,
            other_homes=other_homes,
            size=options.size_limit,
            min_space=options.option("min_space") or "",
        )
    return OverlayDriver(
        home,
        image_home=image_home,
        other_homes=other_homes,
        mount_options=options.mount_options,
        skip_mount_home=options.flag("skip_mount_home"),
        mount_program=options.option("mount_program") or "",
        force_mask=options.force_mask,
        size=options.size_limit,
        inodes=options.inode_limit,
    )


def check_root(options: StoreOptions) -> None:
    """FailedPrecondition if the root holds images of another driver and none of this one: nobody wants them hidden."""
    if _in_use(options.graphroot, options.driver):
        return
    for other in _EVER:
        if other != options.driver and _in_use(options.graphroot, other):
            raise FailedPrecondition(
                f"cannot use {options.graphroot} with the storage driver {options.driver}: it was made with the driver "
                f"{other}; set storage_driver to {other}, or use another root, or empty this one"
            )


def _in_use(root: str, driver: str) -> bool:
    for kind in ("images", "layers"):
        try:
            if os.stat(os.path.join(root, f"{driver}-{kind}", f"{kind}.json")).st_size > _EMPTY_INDEX:
                return True
        except FileNotFoundError:
            continue
    return False
