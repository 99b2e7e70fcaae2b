from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux import mount as m

pytestmark = pytest.mark.root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A private tmpfs, so that propagation of the host cannot interfere; everything below is unmounted at the end."""
    root = tmp_path / "mnt"
    root.mkdir()
    m.mount("tmpfs", str(root), "tmpfs", 0, "size=1m")
    m.make_private(str(root))
    try:
        yield root
    finally:
        m.unmount_below(str(root))


def info_of(path: Path) -> m.MountInfo:
    return next(info for info in m.mounts() if info.mount_point == str(path))


def test_mount_point_is_known_and_in_the_table(place: Path) -> None:
    assert m.is_mount_point(str(place))
    assert not m.is_mount_point(str(place / "nothing"))
    info = info_of(place)
    assert (info.fstype, info.source, info.propagation) == ("tmpfs", "tmpfs", ())
    assert "size=1024k" in info.super_options


def test_bind_of_a_file_is_a_mount_point_but_a_link_to_it_is_not(place: Path) -> None:
    (place / "a").write_text("a")
    (place / "b").write_text("b")
    m.bind(str(place / "a"), str(place / "b"))
    (place / "link").symlink_to("b")
    assert (place / "b").read_text() == "a"
    assert m.is_mount_point(str(place / "b"))
    assert not m.is_mount_point(str(place / "link"))
    m.umount(str(place / "b"))
    assert (place / "b").read_text() == "b"


def test_propagation(place: Path) -> None:
    m.make_rshared(str(place))
    assert info_of(place).propagation[0].startswith("shared:")
    (place / "d").mkdir()
    m.bind(str(place), str(place / "d"))
    m.set_propagation(str(place / "d"), m.MS_SLAVE)
    assert info_of(place / "d").propagation[0].startswith("master:")
    m.make_private(str(place))
    assert not info_of(place).propagation


def test_odd_names_survive_the_table(place: Path) -> None:
    target = place / "a b\tc\\d\nü"
    target.mkdir()
    m.mount("so urce", str(target), "tmpfs")
    assert info_of(target).source == "so urce"


def test_names_that_are_not_utf8_survive_the_table(place: Path) -> None:
    target = os.fsdecode(os.fsencode(place) + b"/\xff\xfe")
    os.mkdir(target)
    m.mount("tmpfs", target, "tmpfs")
    assert [info.mount_point for info in m.mounts_below(target)] == [target]


def test_unmount_below_goes_deepest_first_and_counts(place: Path) -> None:
    for name in ("x", "x/y", "x/y/z", "xx"):
        (place / name).mkdir()
        m.mount("tmpfs", str(place / name), "tmpfs")
    below = [info.mount_point for info in m.mounts_below(str(place / "x"))]
    assert below == [str(place / name) for name in ("x/y/z", "x/y", "x")]
    assert m.unmount_below(str(place / "x"), flags=0) == 3
    assert m.is_mount_point(str(place / "xx"))
    assert not m.is_mount_point(str(place / "x"))


def test_new_api_makes_and_attaches_a_file_system(place: Path) -> None:
    (place / "t").mkdir()
    context = m.fsopen("tmpfs")
    try:
        m.fsconfig_set(context, "size", "64k")
        m.fsconfig_set(context, "source", "mine")
        m.fsconfig_create(context)
        tree = m.fsmount(context, m.MS_NODEV)
    finally:
        os.close(context)
    m.move_mount(tree, str(place / "t"))
    os.close(tree)
    info = info_of(place / "t")
    assert info.source == "mine"
    assert "nodev" in info.options


def test_new_api_tells_the_kernels_reason(place: Path) -> None:
    context = m.fsopen("tmpfs")
    try:
        with pytest.raises(OSError, match=r"Invalid argument: .*nonsense"):
            m.fsconfig_set(context, "nonsense", "1")
    finally:
        os.close(context)


def test_detached_tree_and_id_mapping(place: Path) -> None:
    (place / "source").mkdir()
    (place / "source" / "f").write_text("x")
    (place / "target").mkdir()
    child = subprocess.Popen(["unshare", "-U", "sleep", "60"])
    try:
        uid_map = Path(f"/proc/{child.pid}/uid_map")
        while os.readlink(f"/proc/{child.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            assert child.poll() is None
        uid_map.write_text("0 100000 1000\n")
        Path(f"/proc/{child.pid}/gid_map").write_text("0 200000 1000\n")
        userns = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY)
        try:
            tree = m.open_tree(str(place / "source"))
            m.mount_setattr(tree, userns_fd=userns)
        finally:
            os.close(userns)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    m.move_mount(tree, str(place / "target"))
    os.close(tree)
    status = (place / "target" / "f").stat()
    assert (status.st_uid, status.st_gid) == (100000, 200000)
    assert (place / "source" / "f").stat().st_uid == 0


def test_errors_name_the_path(place: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        m.mount("tmpfs", str(place / "nowhere"), "tmpfs")
    assert caught.value.errno == 2
    with pytest.raises(OSError, match="Invalid argument"):
        m.umount(str(place / ".."))


@pytest.mark.parametrize("line", ["", "1 2 3", "1 2 0:1 / /x rw - tmpfs", "a b 0:1 / /x rw - tmpfs tmpfs rw"])
def test_broken_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"mountinfo|invalid literal"):
        m.parse_mountinfo_line(line)


def test_line_without_and_with_optional_fields() -> None:
    plain = m.parse_mountinfo_line("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime - ext3 /dev/root rw,errors=continue\n")
    assert plain == m.MountInfo(
        36, 35, "98:0", "/mnt1", "/mnt 2", "rw,noatime", (), "ext3", "/dev/root", plain.super_options
    )
    both = m.parse_mountinfo_line("36 35 98:0 / / rw shared:1 master:2 - ext3 /dev/root rw")
    assert both.propagation == ("shared:1", "master:2")


def test_structure_is_the_kernels_first_version() -> None:
    assert ctypes.sizeof(m._MountAttr) == 32
