"""The image's passwd and group files: read below the root, bounded, and searched without trusting a number in them.

Everything here comes from an image, which may be hostile: files that are links out of the root, devices or pipes, too
long, or that give a name which looks like a number (CVE-2025-4437, CVE-2026-46680, CVE-2026-47262).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.files import read_fd_bounded
from crio.linux.openat2 import open_in_root

MAX_FILE = 2 << 20
"""Bytes of passwd or group that are read at most: some 30,000 lines."""
MAX_ID = (1 << 31) - 1
"""Largest user and group id, as in Kubernetes: what is greater wraps to another one in some tools (CVE-2024-40635)."""

PASSWD, GROUP = "/etc/passwd", "/etc/group"


class AccountFile(msgspec.Struct, frozen=True):
    """A file of accounts, with what is needed to make a copy that looks like it."""

    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    exists: bool = False

    def lines(self) -> Iterator[list[bytes]]:
        """The fields of each line that has any; comments and NIS lines ("+...") are left out."""
        for line in self.data.split(b"\n"):
            if line and line[0] not in b"#+-":
                yield line.split(b":")


class Account(msgspec.Struct, frozen=True):
    """One line of passwd."""

    name: bytes
    uid: int
    gid: int
    home: str


def read(root_fd: int, path: str) -> AccountFile:
    """A file in the image's root; an empty one if it is not there.

    Raises InvalidArgument if it is longer than MAX_FILE. What is no regular file counts as missing, and is not opened.
    """
    try:
        handle = open_in_root(root_fd, path, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES):
            return AccountFile()
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return AccountFile()
        if status.st_size > MAX_FILE:
            raise InvalidArgument(f"cannot create container: the image's {path} is longer than {MAX_FILE >> 20} MiB")
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = read_fd_bounded(fd, MAX_FILE, path)
        finally:
            os.close(fd)
    finally:
        os.close(handle)
    return AccountFile(data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, True)


def check_id(number: int, what: str) -> int:
    """`number` if it is a user or group id. Raises InvalidArgument."""
    if not 0 <= number <= MAX_ID:
        raise InvalidArgument(f"cannot create container: {what} {number} is not within 0 and {MAX_ID}")
    return number


def parse_id(text: str) -> int | None:
    """A decimal id, or None if the text is not wholly decimal digits and so is a name. Raises InvalidArgument."""
    if not (text.isascii() and text.isdecimal()):
        return None
    if len(text) > 20:
        raise InvalidArgument(f"cannot create container: id {text[:40]} is not within 0 and {MAX_ID}")
    return check_id(int(text), "id")


def find_user(passwd: AccountFile, name: bytes) -> Account | None:
    """The first account of that name. Raises InvalidArgument if its numbers are none: a guess might be root."""
    for fields in passwd.lines():
        if fields[0] == name:
            account = _account(fields)
            if account is None:
                raise InvalidArgument(
                    f"cannot create container: user {name.decode('utf-8', 'replace')[:100]!r} has no valid ids in the "
                    "image's passwd file"
                )
            return account
    return None


def find_uid(passwd: AccountFile, uid: int) -> Account | None:
    """The first account with that number; malformed lines are passed over."""
    wanted = b"%d" % uid
    if wanted not in passwd.data:
        return None
    for fields in passwd.lines():
        if len(fields) > 3 and fields[2] == wanted:
            account = _account(fields)
            if account is not None:
                return account
    return None


def find_group(group: AccountFile, name: bytes) -> int | None:
    """The number of the first group of that name. Raises InvalidArgument if it has none."""
    for fields in group.lines():
        if fields[0] == name:
            number = _number(fields[2]) if len(fields) > 2 else None
            if number is None:
                raise InvalidArgument(
                    f"cannot create container: group {name.decode('utf-8', 'replace')[:100]!r} has no valid id in the "
                    "image's group file"
                )
            return number
    return None


def has_gid(group: AccountFile, gid: int) -> bool:
    wanted = b"%d" % gid
    return wanted in group.data and any(len(fields) > 2 and fields[2] == wanted for fields in group.lines())


def groups_of(group: AccountFile, name: bytes) -> list[int]:
    """The numbers of the groups that list the user `name` as a member; malformed lines are passed over."""
    if not name or name not in group.data:
        return []
    found = []
    for fields in group.lines():
        if len(fields) > 3 and name in fields[3].split(b","):
            number = _number(fields[2])
            if number is not None:
                found.append(number)
    return found


def _account(fields: list[bytes]) -> Account | None:
    if len(fields) < 4:
        return None
    uid, gid = _number(fields[2]), _number(fields[3])
    if uid is None or gid is None:
        return None
    home = fields[5].decode("utf-8", "replace") if len(fields) > 5 else ""
    return Account(fields[0], uid, gid, home)


def _number(field: bytes) -> int | None:
    if not field.isdigit() or len(field) > 10:
        return None
    number = int(field)
    return number if number <= MAX_ID else None
