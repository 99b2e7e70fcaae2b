from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.base.errors import CrioError, InvalidArgument
from crio.storage.unpack import Unpacker, clean
from crio.wire.tar import TarEntry, TarReader

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]


class Layer:
    """A place to unpack into, with a secret next to it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "layer"
        self.aside = place / "aside"
        self.secret = place / "secret"
        self.unpacker: Unpacker | None = None

    def unpack(self, archive: bytes, **options: bool) -> Unpacker:
        self.root.mkdir(exist_ok=True)
        self.aside.mkdir(exist_ok=True)
        fds = [os.open(path, os.O_RDONLY) for path in (self.root, self.aside)]
        unpacker = Unpacker(*fds, **options)
        try:
            reader = TarReader()
            for event in [*reader.feed(archive), *reader.finish()]:
                if isinstance(event, TarEntry):
                    unpacker.member(event)
                elif isinstance(event, bytes):
                    unpacker.data(event)
            unpacker.finish()
        finally:
            unpacker.close()
            for fd in fds:
                os.close(fd)
        return unpacker


@pytest.fixture
def layer(place: Path) -> Iterator[Layer]:
    secret = place / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    yield Layer(place)
    assert os.listdir(secret) == ["file"]
    assert (secret / "file").read_text() == "secret"
    assert stat.S_IMODE((secret / "file").stat().st_mode) == 0o644
    assert (secret / "file").stat().st_nlink == 1


def member(name: str, type: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = type
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, linkname=target)


def test_everything_is_made_as_it_says(layer: Layer, tar: TarMaker) -> None:
    special = member("d/f", mode=0o4751, uid=1000, gid=2000)
    special.pax_headers = {"mtime": "1234567890.123456789", "SCHILY.xattr.user.note": "hello"}
    directory = member("d", tarfile.DIRTYPE, mode=0o1751, uid=3, gid=4)
    directory.pax_headers = {"mtime": "1111111111.5", "SCHILY.xattr.trusted.x": "y"}
    soft = link("d/s", "/etc/passwd")
    soft.pax_headers = {"mtime": "99.25"}
    soft.uid = 7
    archive = tar(
        directory,
        special,
        soft,
        member("d/h", tarfile.LNKTYPE, linkname="./d/f"),
        member("d/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("d/disk", tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o660, gid=6),
        member("d/fifo", tarfile.FIFOTYPE, mode=0o600),
        ("d/content", b"x" * 100_000),
    )
    unpacker = layer.unpack(archive)
    d = layer.root / "d"
    status = (d / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4751, 1000, 2000)
    assert status.st_mtime_ns == 1234567890123456789
    assert os.getxattr(d / "f", "user.note") == b"hello"
    assert (d.stat().st_mtime_ns, d.stat().st_uid, stat.S_IMODE(d.stat().st_mode)) == (1111111111500000000, 3, 0o1751)
    assert os.getxattr(d, "trusted.x") == b"y"
    assert (os.readlink(d / "s"), (d / "s").lstat().st_uid) == ("/etc/passwd", 7)
    assert (d / "s").lstat().st_mtime_ns == 99_250_000_000
    assert (d / "h").stat().st_ino == status.st_ino
    assert (d / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((d / "null").stat().st_mode) == 0o666
    assert stat.S_ISBLK((d / "disk").stat().st_mode)
    assert stat.S_ISFIFO((d / "fifo").stat().st_mode)
    assert (d / "content").read_bytes() == b"x" * 100_000
    assert unpacker.uids == {0, 3, 7, 1000}
    assert unpacker.gids == {0, 4, 6, 2000}
    assert unpacker.inodes == 7


def test_capabilities_survive_the_change_of_owner(layer: Layer, tar: TarMaker) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    info = member("ping", uid=1000)
    info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    archive = tar(info)
    layer.unpack(archive)
    assert os.getxattr(layer.root / "ping", "security.capability") == capability


def test_whiteouts_become_overlay_marks(layer: Layer, tar: TarMaker) -> None:
    hidden = member("etc/.wh.gone", uid=5, gid=6)
    layer.unpack(
        tar(("etc", None), hidden, ("etc/.wh..wh..opq", b""), ("new/.wh.x", b""), ("etc/.wh..wh.plnk", b"junk"))
    )
    status = (layer.root / "etc/gone").lstat()
    assert stat.S_ISCHR(status.st_mode)
    assert (status.st_rdev, status.st_uid, status.st_gid) == (0, 5, 6)
    assert os.getxattr(layer.root / "etc", "trusted.overlay.opaque") == b"y"
    assert stat.S_IMODE((layer.root / "new").stat().st_mode) == 0o755
    assert os.listdir(layer.root / "etc") == ["gone"]


def test_whiteouts_stay_plain_files_for_a_mount_program(layer: Layer, tar: TarMaker) -> None:
    layer.unpack(tar(("a/.wh.b", b""), ("a/.wh..wh..opq", b"")), native_whiteouts=False)
    assert sorted(os.listdir(layer.root / "a")) == [".wh..wh..opq", ".wh.b"]


def test_whiteout_and_entry_of_one_name_in_one_layer(layer: Layer, tar: TarMaker) -> None:
    """A whiteout hides lower layers only, in whichever order the two come."""
    archive = tar(
        (".wh.first", b""),
        ("first", None),
        ("first/x", b"1"),
        ("second", None),
        ("second/x", b"2"),
        (".wh.second", b""),
        (".wh.file", b""),
        ("file", b"3"),
        ("file2", b"4"),
        (".wh.file2", b""),
        (".wh.parent", b""),
        ("parent/x", b"5"),
        (".wh.deep", b""),
        ("deep/.wh.y", b""),
    )
    layer.unpack(archive)
    for name in ("first", "second", "parent"):
        assert os.getxattr(layer.root / name, "trusted.overlay.opaque") == b"y"
        assert (layer.root / name / "x").read_bytes()
    assert (layer.root / "file").read_bytes() == b"3"
    assert (layer.root / "file2").read_bytes() == b"4"
    assert stat.S_ISCHR((layer.root / "deep").lstat().st_mode)


def test_later_members_replace_earlier_ones(layer: Layer, tar: TarMaker) -> None:
    archive = tar(
        ("a", b"first"),
        ("a", b"second"),
        ("b", None),
        ("b/inside", b"x"),
        link("b", "/nowhere"),
        ("c", b"file"),
        ("c", None),
        ("c/x", b"y"),
        link("d", "a"),
        ("d", b"not through the link"),
        ("e", None),
        ("e", None),
        ("e/kept", b""),
        member("f", tarfile.LNKTYPE, linkname="f"),
    )
    with pytest.raises(OSError, match="No such file"):
        layer.unpack(archive)
    assert (layer.root / "a").read_bytes() == b"second"
    assert os.readlink(layer.root / "b") == "/nowhere"
    assert (layer.root / "c/x").read_bytes() == b"y"
    assert (layer.root / "d").read_bytes() == b"not through the link"


ESCAPES: dict[str, list[tarfile.TarInfo | tuple[str, bytes]]] = {
    "dots": [("../secret/file", b"evil")],
    "dots inside": [("a/../../secret/file", b"evil")],
    "absolute link": [link("l", "{secret}"), ("l/file", b"evil")],
    "relative link": [link("l", "../secret"), ("l/file", b"evil")],
    "link of links": [link("a", ".."), link("b", "a/../secret"), ("b/file", b"evil")],
    "link itself": [link("file", "{secret}/file"), ("file", b"evil")],
    "hard link by dots": [member("h", tarfile.LNKTYPE, linkname="../secret/file"), ("h", b"evil")],
    "hard link through a link": [link("l", "{secret}"), member("h", tarfile.LNKTYPE, linkname="l/file")],
    "hard link to a link": [link("l", "{secret}/file"), member("h", tarfile.LNKTYPE, linkname="l"), ("h", b"evil")],
    "whiteout through a link": [link("l", "{secret}"), ("l/.wh.file", b"")],
    "opaque through a link": [link("l", "{secret}"), ("l/.wh..wh..opq", b"")],
    "whiteout of dots": [(".wh...", b""), ("a/.wh..", b"")],
    "directory over a link": [link("l", "{secret}"), member("l", tarfile.DIRTYPE, mode=0o777)],
    "directory times through a link": [
        member("d", tarfile.DIRTYPE),
        member("d/file", tarfile.DIRTYPE, mtime=5),
        link("d", "{secret}"),
    ],
    "device through a link": [link("l", "{secret}"), member("l/null", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "proc": [link("l", "/proc/self/root/{secret}"), ("l/file", b"evil")],
    "chmod of a link": [link("l", "{secret}/file"), member("l", tarfile.FIFOTYPE, mode=0o777)],
}


@pytest.mark.parametrize("case", ESCAPES)
def test_nothing_leaves_the_layer(layer: Layer, tar: TarMaker, case: str) -> None:
    """Whatever happens, the fixture proves that the secret beside the layer is untouched."""
    members = []
    for item in ESCAPES[case]:
        if isinstance(item, tarfile.TarInfo):
            item = member(
                item.name, item.type, linkname=item.linkname.format(secret=layer.secret), mode=item.mode,
                mtime=item.mtime, devmajor=item.devmajor, devminor=item.devminor,
            )  # fmt: skip
        members.append(item)
    try:
        layer.unpack(tar(*members))
    except (CrioError, OSError):
        pass


def test_links_inside_the_layer_are_followed_inside(layer: Layer, tar: TarMaker) -> None:
    layer.unpack(
        tar(("usr/lib", None), link("lib", "/usr/lib"), ("lib/x", b"1"), link("up", "../../../usr"), ("up/y", b"2"))
    )
    assert (layer.root / "usr/lib/x").read_bytes() == b"1"
    assert (layer.root / "usr/y").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a", b""), ("a/b", b"")], "parent"),
        ([link("l", "/nowhere"), ("l/b", b"")], "parent"),
        ([member(".", tarfile.SYMTYPE, linkname="x")], "root"),
        ([member("x", uid=0xFFFFFFFF)], "owner"),
        ([member("x", uid=1 << 33)], "owner"),
        ([member("x", tarfile.CHRTYPE, devmajor=5000)], "number"),
        ([member("x", tarfile.SYMTYPE)], "no target"),
    ],
)
def test_what_no_layer_may_have(layer: Layer, tar: TarMaker, members: list[object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        layer.unpack(tar(*members))


def test_overlay_attributes_and_labels_of_an_image_are_not_set(layer: Layer, tar: TarMaker) -> None:
    info = member("x")
    info.pax_headers = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "label",
        "SCHILY.xattr.user.kept": "1",
    }
    layer.unpack(tar(info))
    assert os.listxattr(layer.root / "x") == ["user.kept"]


def test_names_of_all_sorts(layer: Layer, tar: TarMaker) -> None:
    layer.unpack(
        tar(("./a//b/./c", b"1"), ("/abs", b"2"), ("x/../y", b"3"), ("d/", None), (".", None), ("sp ace\n", b"4"))
    )
    assert (layer.root / "a/b/c").read_bytes() == b"1"
    assert (layer.root / "abs").read_bytes() == b"2"
    assert (layer.root / "y").read_bytes() == b"3"
    assert (layer.root / "sp ace\n").read_bytes() == b"4"


def test_a_very_deep_tree_and_many_directories(layer: Layer, tar: TarMaker) -> None:
    deep = "/".join(["d"] * 1200)
    layer.unpack(tar((f"{deep}/x", b"1"), *((f"many/{k}/f", b"") for k in range(300)), ("many/0/g", b"")))
    assert len(os.listdir(layer.root / "many")) == 300


def test_sparse_files_have_holes(layer: Layer, place: Path) -> None:
    source = place / "source"
    source.mkdir()
    with open(source / "s", "wb") as file:
        file.seek(1_000_000)
        file.write(b"middle")
        file.truncate(50_000_000)
    argv = ["tar", "-C", str(source), "-S", "--format=pax", "-cf", "-", "s"]
    layer.unpack(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert (layer.root / "s").read_bytes() == (source / "s").read_bytes()
    assert (layer.root / "s").stat().st_blocks < 1000


def test_times_beyond_what_files_have(layer: Layer, tar: TarMaker) -> None:
    before, beyond = member("before"), member("beyond")
    before.pax_headers, beyond.pax_headers = {"mtime": "-5.5"}, {"mtime": "99999999999999"}
    layer.unpack(tar(before, beyond))
    assert (layer.root / "before").stat().st_mtime_ns == -5_500_000_000
    assert (layer.root / "beyond").stat().st_mtime_ns == 0


def test_clean() -> None:
    assert clean(b"./a//b/../c/") == b"a/c"
    assert clean(b"/") == b""
    with pytest.raises(InvalidArgument):
        clean(b"a/../../b")


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/a", "..", "a/../b", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "l", "l/x"]
)
MEMBERS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]),
        st.sampled_from(["a", "b", "/", "..", "../secret", "/a/b", "a/b/c"]),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(MEMBERS)
def test_no_sequence_of_members_leaves_the_layer(
    layer: Layer, tar: TarMaker, members: list[tuple[str, bytes, str]]
) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    infos = [member(name, type, linkname=target) for name, type, target in members]
    try:
        layer.unpack(tar(*infos))
    except (CrioError, OSError):
        pass
    assert len(os.listdir("/proc/self/fd")) <= fds
    assert sorted(os.listdir(layer.root.parent)) == ["aside", "layer", "secret"]
