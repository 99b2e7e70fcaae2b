from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import DataLoss, FailedPrecondition, NotFound
from crio.linux.mount import is_mount_point, mounts_below
from crio.linux.overlay import OverlayMount, mount_overlay
from crio.storage.driver.base import MountOptions
from crio.storage.driver.overlay import OverlayDriver

pytestmark = pytest.mark.root

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class Home:
    def __init__(self, place: Path, **options: object) -> None:
        self.path = place / "overlay"
        self.driver = OverlayDriver(str(self.path), **options)  # type: ignore[arg-type]
        self.driver.prepare()
        self.trash = place / "trash"
        self.trash.mkdir(exist_ok=True)

    def discard(self, path: str) -> None:
        os.rename(path, self.trash / str(len(os.listdir(self.trash))))

    def create(self, id: str, parent: str | None = None, staged: Path | None = None) -> Path:
        content = None if staged is None else str(staged)
        self.driver.create(id, parent, staged=content, image=False, discard=self.discard)
        return self.path / id


@pytest.fixture
def home(place: Path) -> Iterator[Home]:
    yield Home(place)
    assert not [path for path in (place / "overlay").iterdir() if is_mount_point(str(path))]


def test_directories_are_those_of_containers_storage(home: Home, place: Path) -> None:
    staged = place / "staged"
    staged.mkdir(mode=0o700)
    (staged / "f").write_text("x")
    base = home.create(A, None, staged)
    child = home.create(B, A)
    top = home.create(C, B)
    assert sorted(os.listdir(base)) == ["diff", "empty", "link", "merged", "work"]
    assert sorted(os.listdir(child)) == ["diff", "link", "lower", "merged", "work"]
    assert stat.S_IMODE((base / "diff").stat().st_mode) == 0o555
    assert (base / "diff/f").read_text() == "x"
    links = {(path / "link").read_text(): path.name for path in (base, child, top)}
    for link, id in links.items():
        assert len(link) == 26
        assert set(link) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        assert os.readlink(home.path / "l" / link) == f"../{id}/diff"
    first, second, _ = links
    assert (child / "lower").read_text() == f"l/{first}"
    assert (top / "lower").read_text() == f"l/{second}:l/{first}"
    assert (home.path / ".has-mount-program").read_text() == "false"
    assert set(home.driver.layer_ids()) == {A, B, C}


def test_a_child_has_its_parents_mode_and_owner(home: Home) -> None:
    base = home.create(A)
    os.chmod(base / "diff", 0o751)
    os.chown(base / "diff", 5, 6)
    status = (home.create(B, A) / "diff").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o751, 5, 6)


def test_leftovers_of_the_same_id_go_first(home: Home) -> None:
    (home.create(A) / "diff/old").write_text("")
    home.create(A)
    assert os.listdir(home.path / A / "diff") == []
    assert len(os.listdir(home.path / "l")) == 1
    assert len(os.listdir(home.trash)) == 1


def test_a_missing_parent(home: Home) -> None:
    with pytest.raises(NotFound, match=A):
        home.create(B, A)
    with pytest.raises(NotFound):
        home.driver.mount(B, MountOptions())
    home.driver.unmount(B)
    home.driver.remove(B, home.discard)
    assert not home.driver.is_mounted(B)


def test_a_layer_that_is_gone_is_named_at_mount(home: Home) -> None:
    home.create(A)
    home.create(B, A)
    shutil.rmtree(home.path / A)
    with pytest.raises(DataLoss, match="pull the image again"):
        home.driver.mount(B, MountOptions())


def test_lost_parts_come_back(home: Home) -> None:
    home.create(A)
    child = home.create(B, A)
    (child / "merged").rmdir()
    (child / "work").rmdir()
    home.driver.mount(B, MountOptions())
    home.driver.unmount(B)
    link = (child / "link").read_text()
    (child / "link").unlink()
    (home.path / "l" / "STRAY").symlink_to("../nothing/diff")
    (home.path / "l" / (home.path / A / "link").read_text()).unlink()
    assert home.driver.repair_links() == 3
    assert (child / "link").read_text() == link
    assert home.driver.repair_links() == 0


@pytest.mark.parametrize("written", ["", "../x", "\n"])
def test_a_layer_whose_maker_died_while_it_wrote_the_link_file_can_go(home: Home, written: str) -> None:
    base = home.create(A)
    (base / "link").write_text(written)
    home.driver.remove(A, home.discard)
    assert not base.exists()
    assert home.driver.repair_links() == 1
    assert os.listdir(home.path / "l") == []


def test_a_damaged_link_file_is_written_anew(home: Home) -> None:
    base = home.create(A)
    link = (base / "link").read_text()
    (base / "link").write_text("")
    assert home.driver.repair_links() == 1
    assert (base / "link").read_text() == link


def test_a_damaged_link_file(home: Home) -> None:
    base = home.create(A)
    for text in ("", "../../etc", "..", "a/b"):
        (base / "link").write_text(text)
        with pytest.raises(DataLoss, match="link"):
            home.create(B, A)


def test_too_many_layers(home: Home) -> None:
    base = home.create(A)
    (base / "lower").write_text(":".join(["l/" + "A" * 26] * 500))
    with pytest.raises(FailedPrecondition, match="500"):
        home.create(B, A)


def test_home_is_private_and_given_back(home: Home) -> None:
    home.driver.attach_home()
    home.driver.attach_home()
    (info,) = mounts_below(str(home.path))
    assert info.propagation == ()
    home.create(A)
    home.driver.mount(A, MountOptions())
    assert home.driver.is_mounted(A)
    home.driver.unmount(A)
    home.driver.unmount(A)
    home.driver.release_home()
    home.driver.release_home()
    assert mounts_below(str(home.path)) == []


def test_home_is_left_alone_if_so_wished(place: Path) -> None:
    home = Home(place, skip_mount_home=True)
    home.driver.attach_home()
    assert mounts_below(str(home.path)) == []


def test_options_of_the_mount(place: Path) -> None:
    home = Home(place, mount_options=["nodev", "metacopy=on", "rw"])
    home.create(A)
    merged = home.driver.mount(A, MountOptions(volatile=True))
    (info,) = mounts_below(merged)
    assert "nodev" in info.options
    assert {"metacopy=on", "volatile"} <= set(info.super_options.replace("fsync=", "").split(","))
    home.driver.unmount(A)
    merged = home.driver.mount(A, MountOptions(options=["noexec"], volatile=False))
    (info,) = mounts_below(merged)
    assert "noexec" in info.options
    assert "nodev" not in info.options
    home.driver.unmount(A)
    with pytest.raises(OSError, match="Invalid argument"):
        home.driver.mount(A, MountOptions(options=["nonsense"], volatile=True))


def test_diffs_of_older_id_maps_are_read_too(home: Home) -> None:
    base = home.create(A)
    for name in ("diff2", "diff10", "diff1", "different"):
        (base / name).mkdir()
    names = [os.path.basename(path) for path in home.driver.own_directories(A)]
    assert names == ["diff", "diff1", "diff2", "diff10"]


def test_a_file_system_that_it_cannot_be_on(place: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir()
    paths = [str(place / name) for name in ("merged", "lower", "upper", "work")]
    mount_overlay(OverlayMount(paths[0], [paths[1]], paths[2], paths[3]), home=str(place))
    with pytest.raises(FailedPrecondition, match=r"is on overlayfs.*mount_program"):
        Home(place / "merged")
    Home(place / "merged", mount_program="/usr/bin/fuse-overlayfs")
