from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.wire import tar
from crio.wire.tar import Kind, TarEntry, TarReader, TarTail
from crio.wire.tar_fields import TarError


def read(archive: bytes, size: int = 1 << 20) -> tuple[list[tuple[TarEntry, bytes]], bytes]:
    """All members with their data, and everything put together again."""
    reader = TarReader()
    members: list[tuple[TarEntry, bytes]] = []
    whole = bytearray()

    def take(events: Iterable[tar.TarEvent]) -> None:
        for event in events:
            if isinstance(event, TarEntry):
                members.append((event, b""))
                whole.extend(event.header)
            elif isinstance(event, TarTail):
                whole.extend(event.raw)
            else:
                members[-1] = (members[-1][0], members[-1][1] + event)
                whole.extend(event)

    for start in range(0, len(archive), size):
        take(reader.feed(archive[start : start + size]))
    take(reader.finish())
    return members, bytes(whole)


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT, **options: str) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=format, pax_headers=options) as file:
        for info, data in members:
            info.size = len(data) if info.isreg() else info.size
            file.addfile(info, io.BytesIO(data))
    return output.getvalue()


def info(name: str, type: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = type
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def header(name: bytes = b"x", size: bytes = b"00000000000", type: bytes = b"0", **fields: bytes) -> bytes:
    """A ustar header whose fields may be nonsense, with a right checksum."""
    block = bytearray(512)

    def put(at: int, value: bytes) -> None:
        block[at : at + len(value)] = value

    put(0, name)
    put(100, fields.get("mode", b"0000644\0"))
    put(108, fields.get("uid", b"0000000\0"))
    put(116, fields.get("gid", b"0000000\0"))
    put(124, size)
    put(136, fields.get("mtime", b"00000000000\0"))
    put(156, type)
    put(157, fields.get("linkname", b""))
    put(257, fields.get("magic", b"ustar\00000"))
    put(329, fields.get("major", b""))
    put(337, fields.get("minor", b""))
    put(345, fields.get("prefix", b""))
    put(386, fields.get("sparse", b"")) if "sparse" in fields else None
    put(148, b" " * 8)
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


END = bytes(1024)

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("format", FORMATS)
def test_every_kind_of_member(format: int) -> None:
    data = archive(
        (info("d/", tarfile.DIRTYPE, mode=0o1755), b""),
        (info("d/file", mode=0o4755, uid=1000, gid=2000, mtime=1700000000), b"content"),
        (info("d/hard", tarfile.LNKTYPE, linkname="d/file"), b""),
        (info("d/soft", tarfile.SYMTYPE, linkname="../x"), b""),
        (info("d/char", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (info("d/block", tarfile.BLKTYPE, devmajor=8, devminor=300), b""),
        (info("d/fifo", tarfile.FIFOTYPE), b""),
        (info("empty"), b""),
        format=format,
    )
    members, whole = read(data)
    assert whole == data
    assert [member.kind for member, _ in members] == [
        Kind.DIRECTORY,
        Kind.FILE,
        Kind.HARD_LINK,
        Kind.SYMLINK,
        Kind.CHARACTER_DEVICE,
        Kind.BLOCK_DEVICE,
        Kind.FIFO,
        Kind.FILE,
    ]
    directory, file, hard, soft, char, block, _, _ = (member for member, _ in members)
    assert (directory.name.rstrip(b"/"), directory.mode) == (b"d", 0o1755)
    assert (file.mode, file.uid, file.gid, file.mtime_ns) == (0o4755, 1000, 2000, 1700000000 * 10**9)
    assert members[1][1] == b"content"
    assert (hard.linkname, soft.linkname) == (b"d/file", b"../x")
    assert (char.major, char.minor, block.major, block.minor) == (1, 3, 8, 300)


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 4096])
@pytest.mark.parametrize("format", FORMATS[1:])
def test_pieces_of_any_size_give_the_same(format: int, size: int) -> None:
    data = archive(
        (info("a" * 150 + "/" + "b" * 200), b"x" * 1500),
        (info("l" * 200, tarfile.SYMTYPE, linkname="t" * 300), b""),
        (info("z", mtime=1.25, uid=10_000_000_000), b"y" * 512),
        format=format,
    )
    expected, whole = read(data)
    members, again = read(data, size)
    assert whole == again == data
    assert [(m.name, m.linkname, m.uid, m.size, d) for m, d in members] == [
        (m.name, m.linkname, m.uid, m.size, d) for m, d in expected
    ]


def test_pax_has_big_numbers_fractions_and_attributes() -> None:
    member = info("x", mtime=1234567890.123456789, uid=3_000_000_000)
    member.pax_headers = {"SCHILY.xattr.user.x": "a=b\nc", "mtime": "1234567890.123456789", "comment": "no"}
    ((entry, _),), _ = read(archive((member, b"")))
    assert entry.mtime_ns == 1234567890123456789
    assert entry.uid == 3_000_000_000
    assert entry.xattrs == {b"user.x": b"a=b\nc"}


def test_global_headers_are_passed_over() -> None:
    data = archive((info("real"), b"1"), comment="global", path="not-this")
    ((entry, content),), whole = read(data)
    assert (entry.name, content, whole) == (b"real", b"1", data)


def test_base_256_numbers_of_gnu_also_negative() -> None:
    big = (0x80 << 88 | 5).to_bytes(12, "big")
    negative = (-7).to_bytes(12, "big", signed=True)
    ((entry, content),), _ = read(
        header(size=big, mtime=negative, magic=b"ustar  \0") + b"12345".ljust(512, b"\0") + END
    )
    assert (entry.size, content, entry.mtime_ns) == (5, b"12345", -7 * 10**9)


def test_old_spellings() -> None:
    """V7 without magic, an empty number, spaces for zeros, a directory known by its slash only, a star prefix."""
    data = header(b"dir/", size=b"          0 ", type=b"\0", magic=b"", uid=b"        ")
    ((entry, _),), _ = read(data + END)
    assert (entry.kind, entry.uid) == (Kind.DIRECTORY, 0)
    ((entry, _),), _ = read(header(b"name", prefix=b"some/prefix") + END)
    assert entry.name == b"some/prefix/name"
    ((entry, _),), _ = read(header(b"name", prefix=b"times, not a prefix", magic=b"ustar  \0") + END)
    assert entry.name == b"name"


def test_header_only_kinds_have_no_data_whatever_they_say() -> None:
    data = header(b"l", size=b"00000001000", type=b"1", linkname=b"t") + header(b"next") + END
    members, whole = read(data)
    assert [entry.name for entry, _ in members] == [b"l", b"next"]
    assert whole == data


def test_what_follows_the_end_is_kept_but_not_read() -> None:
    data = header(b"a") + END + b"trailing garbage" + header(b"b")
    members, whole = read(data)
    assert ([entry.name for entry, _ in members], whole) == ([b"a"], data)


@pytest.mark.parametrize("tail", [b"", bytes(512), bytes(100)])
def test_missing_end_marks_are_accepted(tail: bytes) -> None:
    data = header(b"a") + tail
    members, whole = read(data)
    assert (len(members), whole) == (1, data)


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar(tmp_path: Path, version: str) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        for k in range(40):
            file.seek(k * 100_000)
            file.write(b"%04d" % k * 1024)
        file.truncate(5_000_000)
    options = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
    data = subprocess.run(
        ["tar", "-C", str(tmp_path), *options, "--sparse", "-cf", "-", "sparse"], check=True, stdout=subprocess.PIPE
    ).stdout
    assert len(data) < 1_000_000
    for size in (1 << 20, 700):
        ((entry, content),), whole = read(data, size)
        assert whole == data
        assert (entry.name, entry.real_size, len(content)) == (b"sparse", 5_000_000, entry.size)
        assert entry.sparse is not None
        assert len(entry.sparse) >= 40
        rebuilt = bytearray(entry.real_size)
        at = 0
        for offset, length in entry.sparse:
            rebuilt[offset : offset + length] = content[at : at + length]
            at += length
        assert rebuilt == path.read_bytes()


def test_gnu_tar_with_everything(tmp_path: Path) -> None:
    (tmp_path / ("n" * 200)).write_text("long")
    (tmp_path / "ünï").write_text("x")
    os.symlink("t" * 200, tmp_path / "s")
    os.utime(tmp_path / "ünï", ns=(1, 123456789))
    for format in ("gnu", "pax"):
        data = subprocess.run(
            ["tar", "-C", str(tmp_path), f"--format={format}", "-cf", "-", "."], check=True, stdout=subprocess.PIPE
        ).stdout
        members, whole = read(data)
        names = {entry.name: entry for entry, _ in members}
        assert whole == data
        assert b"./" + b"n" * 200 in names
        assert names[b"./s"].linkname == b"t" * 200
        assert names["./ünï".encode()].mtime_ns == (123456789 if format == "pax" else 0)


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    text = b""
    for record in records:
        length = len(record) + 2
        while len(str(length)) + 1 + len(record) + 1 != length:
            length = len(str(length)) + 2 + len(record)
        text += b"%d %b\n" % (length, record)
    return header(b"pax", size=b"%011o" % len(text), type=kind) + text + bytes(-len(text) % 512)


def sparse_old(pieces: bytes, real: bytes) -> bytes:
    block = bytearray(header(b"s", size=b"00000000000", type=b"S", magic=b"ustar  \0"))
    block[386 : 386 + len(pieces)] = pieces
    block[483:495] = real
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


BAD: dict[str, Callable[[], bytes]] = {
    "checksum": lambda: header()[:-1] + b"x" + END,
    "not octal": lambda: header(size=b"0000009") + END,
    "underscore": lambda: header(size=b"1_0") + END,
    "negative size": lambda: header(size=(-1).to_bytes(12, "big", signed=True)) + END,
    "huge size": lambda: header(size=(0x80 << 88 | 1 << 64).to_bytes(12, "big")) + END,
    "data cut": lambda: header(size=b"00000001000") + b"x" * 511,
    "header cut": lambda: header()[:300],
    "ends after extension": lambda: pax(b"path=x"),
    "end mark after extension": lambda: pax(b"path=x") + END,
    "lone zero block": lambda: header() + bytes(512) + header(),
    "huge extension": lambda: header(type=b"x", size=b"%011o" % (2 << 20)) + bytes(2 << 20),
    "many extensions": lambda: pax(b"path=x") * 17 + header() + END,
    "many global headers": lambda: pax(b"a=b", kind=b"g") * 100 + header() + END,
    "pax length": lambda: header(type=b"x", size=b"%011o" % 9) + b"99 path=x" + bytes(503) + header() + END,
    "pax without equals": lambda: pax(b"path") + header() + END,
    "pax zero byte": lambda: pax(b"path=a\0b") + header() + END,
    "pax size": lambda: pax(b"size=-1") + header() + END,
    "pax time": lambda: pax(b"mtime=yesterday") + header() + END,
    "long name": lambda: pax(b"path=" + b"n" * 5000) + header() + END,
    "unknown type": lambda: header(type=b"M") + END,
    "sparse 1.0 without end": lambda: (
        pax(b"GNU.sparse.major=1", b"GNU.sparse.minor=0") + header(size=b"00000001000") + b"5\n1\n" + bytes(508) + END
    ),
    "sparse 1.0 many pieces": lambda: (
        pax(b"GNU.sparse.major=1") + header(size=b"00000001000") + b"99999999\n".ljust(512)
    ),
    "sparse future": lambda: pax(b"GNU.sparse.major=2") + header() + END,
    "sparse map overlaps": lambda: pax(b"GNU.sparse.map=0,10,5,10", b"GNU.sparse.size=99") + header() + END,
    "sparse map too large": lambda: pax(b"GNU.sparse.map=0,10", b"GNU.sparse.size=5") + header() + END,
    "sparse map without data": lambda: pax(b"GNU.sparse.map=0,10", b"GNU.sparse.size=99") + header() + END,
    "sparse map odd": lambda: pax(b"GNU.sparse.map=0", b"GNU.sparse.size=99") + header() + END,
    "sparse pieces": lambda: (
        pax(b"GNU.sparse.map=" + b"0,0," * 100_000 + b"0,0", b"GNU.sparse.size=9") + header() + END
    ),
    "old sparse map impossible": lambda: sparse_old(b"%011o\0%011o\0" % (0, 512), b"%011o\0" % 5) + END,
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("size", [1 << 20, 100])
def test_bad_archives_are_refused(case: str, size: int) -> None:
    with pytest.raises(TarError, match="cannot read tar archive"):
        read(BAD[case](), size)


def test_old_sparse_map_without_end_is_bounded() -> None:
    """Extension blocks that go on for ever must not be collected (CVE-2025-58183)."""
    first = bytearray(sparse_old(b"%011o\0%011o\0" % (0, 0) * 4, b"%011o\0" % 5))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    more = (b"%011o\0%011o\0" % (0, 0) * 21 + b"\1").ljust(512, b"\0")
    with pytest.raises(TarError, match="pieces"):
        read(bytes(first) + more * 4000)


@given(st.binary(max_size=3000))
def test_noise_is_an_error_or_nothing(data: bytes) -> None:
    try:
        read(data)
    except TarError:
        pass


@settings(max_examples=300)
@given(st.data())
def test_damaged_archives_never_break_the_reader(data: st.DataObject) -> None:
    good = bytearray(
        archive((info("a" * 120, mtime=1.5), b"x" * 700), (info("b", tarfile.SYMTYPE, linkname="c" * 120), b""))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.sampled_from([1 << 20, 333]))
    try:
        members, whole = read(bytes(good), size)
    except TarError:
        return
    assert whole == bytes(good)
    assert all(len(content) == entry.size for entry, content in members)
