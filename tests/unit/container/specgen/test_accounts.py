from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import InvalidArgument
from crio.container.specgen import accounts
from crio.container.specgen.accounts import MAX_FILE, MAX_ID, AccountFile


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    (tmp_path / "etc").mkdir()
    fd = os.open(tmp_path, os.O_PATH)
    yield tmp_path, fd
    os.close(fd)


def test_missing_file(root: tuple[Path, int]) -> None:
    assert not accounts.read(root[1], "/etc/passwd").exists


def test_content_and_owner(root: tuple[Path, int]) -> None:
    path = root[0] / "etc/passwd"
    path.write_bytes(b"a:x:1:2::/h:\n")
    path.chmod(0o640)
    file = accounts.read(root[1], "/etc/passwd")
    assert (file.data, file.mode, file.exists) == (b"a:x:1:2::/h:\n", 0o640, True)


def test_links_end_at_the_root(root: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """CVE-2024-9676: a link in the image must not read the host's file."""
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("host:x:0:0::/:\n")
    (root[0] / "etc/passwd").symlink_to(outside)
    assert not accounts.read(root[1], "/etc/passwd").exists
    (root[0] / "etc/passwd").unlink()
    (root[0] / "etc/passwd").symlink_to("../../../../etc/real")
    (root[0] / "etc/real").write_text("image:x:1:1::/:\n")
    assert accounts.read(root[1], "/etc/passwd").data.startswith(b"image")


def test_pipes_and_devices_are_not_opened(root: tuple[Path, int]) -> None:
    os.mkfifo(root[0] / "etc/passwd")
    assert not accounts.read(root[1], "/etc/passwd").exists


@pytest.mark.root
def test_device_is_not_opened(root: tuple[Path, int]) -> None:
    os.mknod(root[0] / "etc/passwd", 0o20600, os.makedev(1, 5))
    assert not accounts.read(root[1], "/etc/passwd").exists


def test_huge_file(root: tuple[Path, int]) -> None:
    """CVE-2025-4437, CVE-2026-47262."""
    path = root[0] / "etc/passwd"
    path.touch()
    os.truncate(path, MAX_FILE + 1)
    with pytest.raises(InvalidArgument, match="longer than"):
        accounts.read(root[1], "/etc/passwd")


def test_numbers_and_names() -> None:
    assert accounts.parse_id("0") == 0
    assert accounts.parse_id(str(MAX_ID)) == MAX_ID
    for name in ("root", "+1", "-1", "0x10", " 1", "1 ", "1e3", "\u0663"):
        assert accounts.parse_id(name) is None


@pytest.mark.parametrize("text", ["2147483648", "4294967296", "4294967295", "9" * 30])
def test_out_of_range_numbers(text: str) -> None:
    """CVE-2024-40635, CVE-2026-46680: neither wrapped nor taken for a name."""
    with pytest.raises(InvalidArgument):
        accounts.parse_id(text)


def test_a_number_in_the_name_field_is_no_number() -> None:
    """CVE-2026-46680: a user called "1000" whose number is 0."""
    file = AccountFile(b"1000:x:0:0:root:/root:/bin/sh\n")
    assert accounts.find_uid(file, 1000) is None


def test_users() -> None:
    file = AccountFile(b"#c\n+nis\nshort:x\nbad:x:nan:1::/:\nbig:x:4294967296:0::/:\nweb:x:7:8:n:/home/web:/bin/sh")
    found = accounts.find_user(file, b"web")
    assert found is not None
    assert (found.uid, found.gid, found.home) == (7, 8, "/home/web")
    assert accounts.find_uid(file, 7) == found
    assert accounts.find_user(file, b"none") is None
    for name in (b"bad", b"big", b"short"):
        with pytest.raises(InvalidArgument, match="no valid ids"):
            accounts.find_user(file, name)


def test_groups() -> None:
    file = AccountFile(b"a:x:1:web,x\nb:x:2:x\nc:x:nan:web\nd:x:4:webber\nweb:x:9:\n")
    assert accounts.groups_of(file, b"web") == [1]
    assert accounts.groups_of(file, b"x") == [1, 2]
    assert accounts.find_group(file, b"web") == 9
    assert accounts.find_group(file, b"none") is None
    assert accounts.has_gid(file, 9)
    assert not accounts.has_gid(file, 99)
    with pytest.raises(InvalidArgument):
        accounts.find_group(file, b"c")


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=8), st.integers(0, MAX_ID))
def test_any_bytes_give_an_answer_or_a_refusal(data: bytes, name: bytes, number: int) -> None:
    file = AccountFile(data)
    for look_up in (accounts.find_user, accounts.find_group):
        try:
            look_up(file, name)
        except InvalidArgument:
            pass
    found = accounts.find_uid(file, number)
    assert found is None or found.uid == number
    assert all(0 <= gid <= MAX_ID for gid in accounts.groups_of(file, name))
