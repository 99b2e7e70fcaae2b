from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.storage.options import StoreOptions, load, parse_size

CONF = b"""
[storage]
driver = "overlay"
graphroot = "/g"
runroot = "/r"
[storage.options]
additionalimagestores = ["/a", "/b"]
pull_options = {enable_partial_images = "false"}
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
skip_mount_home = true
"""


def test_file_then_environment_then_arguments(tmp_path: Path) -> None:
    path = tmp_path / "storage.conf"
    path.write_bytes(CONF)
    environ = {"CONTAINERS_STORAGE_CONF": str(path)}
    options = load(environ=environ)
    assert (options.graphroot, options.runroot, options.driver) == ("/g", "/r", "overlay")
    assert options.mount_options == ["nodev", "metacopy=on"]
    assert options.flag("skip_mount_home")
    assert options.additional_image_stores == ("/a", "/b")
    environ["STORAGE_OPTS"] = "overlay.mountopt=nodev,metacopy=off,overlay.ignore_chown_errors=true"
    options = load(environ=environ, graphroot="/mine")
    assert (options.graphroot, options.runroot) == ("/mine", "/r")
    assert options.mount_options == ["nodev", "metacopy=off"]
    assert options.flag("ignore_chown_errors")
    assert not options.flag("skip_mount_home")
    options = load(environ=environ, driver_options=["overlay.mountopt=noexec"], imagestore="/i")
    assert (options.mount_options, options.imagestore) == (["noexec"], "/i")
    options = load(environ={**environ, "STORAGE_DRIVER": "vfs"})
    assert options.driver == "vfs"
    assert load(environ=environ, driver="vfs").mount_options == []


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    options = load(environ={"CONTAINERS_STORAGE_CONF": str(tmp_path / "none")})
    assert options == StoreOptions()
    assert (options.graphroot, options.runroot) == ("/var/lib/containers/storage", "/run/containers/storage")


def test_stores_given_as_driver_options() -> None:
    options = load(
        environ={"CONTAINERS_STORAGE_CONF": "/nonexistent"},
        driver_options=["overlay.imagestore=/i", "overlay.additionalimagestore=/a", ".additionalimagestore=/b"],
    )
    assert options.imagestore == "/i"
    assert options.additional_image_stores == ("/a", "/b")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (StoreOptions(driver="devicemapper"), "overlay"),
        (StoreOptions(driver="aufs"), "overlay"),
        (StoreOptions(driver="zfs"), "OpenZFS"),
        (StoreOptions(driver="floppy"), "known are"),
        (StoreOptions(graphroot="relative"), "absolute"),
        (StoreOptions(runroot="relative"), "runroot"),
        (StoreOptions(imagestore="relative"), "imagestore"),
        (StoreOptions(additional_image_stores=["relative"]), "additional"),
        (StoreOptions(driver_options=["overlay.mount_program=/nonexistent"]), "install fuse-overlayfs"),
        (StoreOptions(driver_options=["overlay.use_composefs=true"]), "remove the option"),
        (StoreOptions(driver_options=["overlay.force_mask=shared"]), "mount_program"),
        (StoreOptions(driver_options=["overlay.force_mask=9"]), "octal"),
        (StoreOptions(driver_options=["overlay.size=ten"]), "10G"),
        (StoreOptions(driver_options=["overlay.inodes=ten"]), "number of files"),
        (StoreOptions(driver_options=["overlay.skip_mount_home=perhaps"]), "neither true nor false"),
        (StoreOptions(driver_options=["overlay.mount_opt=nodev"]), "mountopt"),
        (StoreOptions(driver="vfs", driver_options=["vfs.mountopt=nodev"]), "mounts nothing"),
        (StoreOptions(driver="btrfs", driver_options=["btrfs.min_space=x"]), "min_space"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(options: StoreOptions, hint: str) -> None:
    with pytest.raises(InvalidArgument, match=hint):
        options.check()


def test_what_is_said_for_another_driver_counts_for_nothing() -> None:
    options = StoreOptions(driver="vfs", driver_options=["overlay.mountopt=nodev", "btrfs.size=1G"])
    options.check()
    assert (options.mount_options, options.size_limit) == ([], None)


def test_limits() -> None:
    options = StoreOptions(driver_options=["overlay.size=10G", ".inodes=5000", "overlay.size=1.5"])
    with pytest.raises(InvalidArgument, match="size"):
        options.check()
    options = StoreOptions(driver_options=["storage.overlay.size=512MiB", "inodes=0"])
    assert (options.check().size_limit, options.inode_limit) == (512 << 20, None)
    assert [parse_size(text, "size") for text in ("0", "1k", "2g", "3Tb", "7B")] == [0, 1024, 2 << 30, 3 << 40, 7]


def test_the_old_name_of_overlay(tmp_path: Path) -> None:
    path = tmp_path / "storage.conf"
    path.write_text("[storage]\ndriver = 'overlay2'\n[storage.options.overlay]\nsize = '1G'")
    environ = {"CONTAINERS_STORAGE_CONF": str(path)}
    options = load(environ=environ, driver_options=["overlay2.mountopt=nodev"])
    assert (options.check().driver, options.size_limit, options.mount_options) == ("overlay", 1 << 30, ["nodev"])
    assert load(environ={"CONTAINERS_STORAGE_CONF": "/nonexistent"}, driver="overlay2").driver == "overlay"


def test_forced_modes() -> None:
    masks = [
        StoreOptions(driver_options=[f"force_mask={text}"]).force_mask for text in ("", "shared", "private", "0750")
    ]
    assert masks == [None, 0o755, 0o700, 0o750]


def test_flags_are_true_or_false() -> None:
    assert StoreOptions(driver_options=["a=true", "overlay.a=FALSE"]).flag("a") is False
    with pytest.raises(InvalidArgument):
        StoreOptions(driver_options=["a=maybe"]).flag("a")
