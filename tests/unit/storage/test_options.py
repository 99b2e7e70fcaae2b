from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.storage.options import StoreOptions, load, parse

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
    assert load(environ=environ, driver="vfs").driver_options == ()


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
    "text",
    [
        b"[storage",
        b"\xff",
        b"storage = 1",
        b"[storage]\ndriver = 5",
        b"[storage]\ntransient_store = 'x'",
        b"[storage.options]\nadditionalimagestores = 'x'",
    ],
)
def test_broken_files_are_named(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"/etc/x\.conf"):
        parse(text, "/etc/x.conf", StoreOptions())


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (StoreOptions(driver="devicemapper"), "overlay"),
        (StoreOptions(driver="aufs"), "overlay"),
        (StoreOptions(driver="zfs"), "OpenZFS"),
        (StoreOptions(driver="floppy"), "known are"),
        (StoreOptions(graphroot="relative"), "absolute"),
        (StoreOptions(driver_options=["overlay.mount_program=/usr/bin/fuse-overlayfs"]), "mount_program"),
        (StoreOptions(driver_options=["overlay.size=10G"]), "quota"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(options: StoreOptions, hint: str) -> None:
    with pytest.raises(InvalidArgument, match=hint):
        options.check()


def test_flags_are_true_or_false() -> None:
    assert StoreOptions(driver_options=["a=true", "overlay.a=FALSE"]).flag("a") is False
    with pytest.raises(InvalidArgument):
        StoreOptions(driver_options=["a=maybe"]).flag("a")
