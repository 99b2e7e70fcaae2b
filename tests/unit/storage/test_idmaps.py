from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import InvalidArgument
from crio.base.ids import new_id
from crio.linux.mount import mounts_below
from crio.storage.idmaps import IdMaps, shift_tree
from crio.storage.options import StoreOptions
from crio.storage.records import IdMapEntry, ImageRecord
from crio.storage.store import Store
from store_mounts import unmount

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]
MAP = [IdMapEntry(0, 300000, 1000), IdMapEntry(1000, 500000, 64536)]


@pytest.fixture(params=["kernel", "copy", "vfs"])
def mapped(request: pytest.FixtureRequest, options: StoreOptions, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose kernel shifts owners, one whose kernel cannot, and a driver without mounts."""
    with Store.open(replace(options, driver="vfs" if request.param == "vfs" else "overlay")) as store:
        if request.param == "copy":
            monkeypatch.setattr(store.driver, "shifts_ids", lambda: False)
        yield store


def _member(name: str, uid: int, mode: int = 0o644, *, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.uid = info.gid = uid
    info.mode = mode
    if link:
        info.type, info.linkname = tarfile.LNKTYPE, link
    return info


def _image(store: Store, tar: TarMaker, add_image: ImageMaker) -> ImageRecord:
    tool = _member("ping", 0, 0o4755)
    tool.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14}
    return add_image(
        store,
        "localhost/a:1",
        tar(tool, _member("user", 1001), _member("outside", 70000), ("d", None), _member("d/hard", 0, link="user")),
        tar(_member("d/upper", 5)),
    )


def test_owners_are_those_of_the_namespace(mapped: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    image = _image(mapped, tar, add_image)
    id = new_id()
    record = mapped.create_container(id, names=["c"], image_id=image.id, uid_mappings=MAP, gid_mappings=MAP)
    assert (record.uidmap, record.gidmap) == (MAP, MAP)
    root = Path(mapped.mount_container(id))
    owners = {name: (root / name).lstat().st_uid for name in (".", "ping", "user", "d", "d/hard", "d/upper", "outside")}
    outside = owners.pop("outside")
    assert owners == {".": 300000, "ping": 300000, "user": 500001, "d": 300000, "d/hard": 500001, "d/upper": 300005}
    assert outside == 65534
    assert stat.S_IMODE((root / "ping").stat().st_mode) == 0o4755
    assert (root / "ping").lstat().st_gid == 300000
    # A capability of the file belongs to the namespace's root now.
    assert struct.unpack("<I", os.getxattr(root / "ping", "security.capability")[20:24]) == (300000,)
    (root / "d/upper").write_text("new")
    assert not [info for info in mounts_below(mapped.options.graphroot) if "/mapped" in info.mount_point]
    unmount(mapped, id)
    # The second mount shifts nothing twice, and an image volume is the same thing read-only.
    again = Path(mapped.mount_container(id, read_only=True))
    assert (again / "user").lstat().st_uid == 500001
    assert (again / "d/upper").read_text() == "new"
    unmount(mapped, id)
    # The image is as it was.
    other = new_id()
    mapped.create_container(other, names=["d"], image_id=image.id)
    assert (Path(mapped.mount_container(other)) / "user").lstat().st_uid == 1001
    for container in (id, other):
        mapped.remove_container(container)


def test_a_container_without_image(mapped: Store) -> None:
    id = new_id()
    mapped.create_container(id, names=["c"], image_id=None, uid_mappings=MAP, gid_mappings=MAP)
    assert os.stat(mapped.mount_container(id)).st_uid == 300000
    mapped.remove_container(id)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_the_namespaces_root_gets_in_and_nobody_else_gets_further(
    mapped: Store, tar: TarMaker, add_image: ImageMaker, place: Path
) -> None:
    image = _image(mapped, tar, add_image)
    place.chmod(0o711)
    id = new_id()
    mapped.create_container(id, names=["c"], image_id=image.id, uid_mappings=MAP, gid_mappings=MAP)
    root = mapped.mount_container(id)

    def look(path: str) -> bool:
        argv = ["setpriv", "--reuid=300000", "--regid=300000", "--clear-groups", "ls", path]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    assert look(root)
    assert not look(mapped.options.graphroot)
    if mapped.options.driver == "overlay":
        assert not look(mapped.driver.own_directories(image.layer)[0])
    mapped.remove_container(id)


def test_maps_need_a_root(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="entry for id 0"):
        store.create_container(new_id(), names=["c"], image_id=None, uid_mappings=MAP[1:], gid_mappings=MAP)
    with pytest.raises(InvalidArgument, match="group ids"):
        store.create_container(new_id(), names=["c"], image_id=None, uid_mappings=MAP)
    assert store.containers() == []


def test_ranges_that_meet_are_not_shifted_twice(place: Path) -> None:
    """The second name of a file has the new owner already, which is a valid id of the container too."""
    (place / "a").write_text("")
    os.chown(place / "a", 1, 1)
    os.link(place / "a", place / "b")
    (place / "c").symlink_to("/etc/passwd")
    entry = (IdMapEntry(0, 10, 65536),)
    shift_tree(str(place), IdMaps(entry, entry))
    assert {(place / name).lstat().st_uid for name in "ab"} == {11}
    assert (place / "c").lstat().st_uid == 10
    assert os.stat("/etc/passwd").st_uid == 0
