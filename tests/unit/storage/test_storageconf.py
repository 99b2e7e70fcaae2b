from __future__ import annotations

import logging
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.storage.options import StoreOptions, load
from crio.storage.storageconf import parse, read
from log_records import of_crio

WHOLE = b"""
[storage]
driver = "overlay"
graphroot = "$PLACE/graph"
runroot = "/r"
imagestore = "/images"
rootless_storage_path = "$HOME/storage"
transient_store = true
driver_priority = ["btrfs"]
[storage.options]
additionalimagestores = ["/a", "$PLACE/b"]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
additionallayerstores = ["/stargz:ref"]
remap-uids = "0:1000:100"
root-auto-userns-user = "storage"
auto-userns-min-size = 1024
disable-volatile = true
size = "1G"
mountopt = "noexec"
tpyo = 1
[storage.options.thinpool]
directlvm_device = "/dev/sdb"
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
ignore_chown_errors = "true"
inodes = 1000
mount_program = "/bin/true"
force_mask = "private"
skip_mount_home = true
[storage.options.vfs]
ignore_chown_errors = "true"
[storage.options.btrfs]
min_space = "1M"
size = "2G"
"""


def test_every_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PLACE", "/place")
    with caplog.at_level(logging.INFO, "crio.storage.storageconf"):
        options = parse(WHOLE, "/etc/x.conf", StoreOptions()).check()
    assert (options.driver, options.graphroot, options.runroot) == ("overlay", "/place/graph", "/r")
    assert (options.imagestore, options.transient) == ("/images", True)
    assert options.additional_image_stores == ("/a", "/place/b")
    # A driver's own table wins.
    assert options.mount_options == ["nodev", "metacopy=on"]
    assert (options.size_limit, options.inode_limit, options.force_mask) == (1 << 30, 1000, 0o700)
    assert options.flag("ignore_chown_errors")
    assert options.flag("skip_mount_home")
    assert options.flag("disable-volatile")
    assert options.option("mount_program") == "/bin/true"
    ignored = {record.args[1] for record in of_crio(caplog) if isinstance(record.args, tuple)}
    assert ignored == {
        "rootless_storage_path",
        "additionallayerstores",
        "remap-uids",
        "root-auto-userns-user",
        "auto-userns-min-size",
        "tpyo",
        "thinpool",
    }
    assert all("is ignored: " in record.getMessage() for record in of_crio(caplog))


def test_options_follow_the_driver(tmp_path: Path) -> None:
    path = tmp_path / "storage.conf"
    path.write_bytes(WHOLE)
    environ = {"CONTAINERS_STORAGE_CONF": str(path)}
    assert load(environ=environ, driver="btrfs").size_limit == 2 << 30
    vfs = load(environ=environ, driver="vfs")
    assert vfs.flag("ignore_chown_errors")
    assert vfs.mount_options == []
    # crio.conf adds to the file, and wins.
    options = load(environ=environ, driver_options=["overlay.size=5G"])
    assert (options.size_limit, options.inode_limit) == (5 << 30, 1000)


def test_no_file(tmp_path: Path) -> None:
    base = StoreOptions("/mine")
    assert read({"CONTAINERS_STORAGE_CONF": str(tmp_path / "none")}, base) == base


def test_the_first_driver_that_can_be(tmp_path: Path) -> None:
    # /proc is no btrfs, and zfs is none of ours.
    text = b"[storage]\ngraphroot = '/proc/x'\ndriver_priority = ['zfs', 'btrfs', 'vfs', 'overlay']"
    assert parse(text, "x", StoreOptions()).driver == "vfs"
    assert parse(b"[storage]\ndriver_priority = []", "x", StoreOptions()).driver == "overlay"
    assert parse(b"[storage]\ndriver = 'overlay'\ndriver_priority = ['vfs']", "x", StoreOptions()).driver == "overlay"


@pytest.mark.parametrize(
    "text",
    [
        b"[storage",
        b"\xff",
        b"storage = 1",
        b"[storage]\ndriver = 5",
        b"[storage]\ntransient_store = 'x'",
        b"[storage.options]\nadditionalimagestores = 'x'",
        b"[storage.options]\noverlay = 'x'",
        b"[storage.options.overlay]\nsize = [1]",
        b"[storage]\ndriver_priority = 'vfs'",
    ],
)
def test_broken_files_are_named(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"/etc/x\.conf"):
        parse(text, "/etc/x.conf", StoreOptions())
