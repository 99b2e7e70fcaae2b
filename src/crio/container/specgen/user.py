"""Who a container runs as: user, groups, home directory, and a line in passwd and group for who has none.

The request's user replaces the image's; names are looked up in the image's files, numbers never are taken for names.
The primary group is repeated among the additional ones, so that a set-group-id program does not shed it and with it a
"group may not" permission (CVE-2022-2995, CVE-2023-25173).
"""

from __future__ import annotations

import os
from collections.abc import Container

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen import accounts
from crio.container.specgen.accounts import AccountFile
from crio.container.specgen.plan import Notes
from crio.spec.oci_runtime import Mount

_MOUNT_OPTIONS = ("rw", "bind", "nodev", "nosuid", "noexec")


class ResolvedUser(msgspec.Struct, frozen=True):
    uid: int
    gid: int
    groups: tuple[int, ...]
    """The additional groups, the primary one first."""
    home: str
    """From passwd; "" if the user has no line there."""
    passwd: AccountFile
    group: AccountFile


def resolve(context: pb.LinuxContainerSecurityContext, image_user: str, root_fd: int) -> ResolvedUser:
    """The user of a container whose root is open at `root_fd`. Raises InvalidArgument, and OSError as read(2)."""
    has_uid, has_gid = context.HasField("run_as_user"), context.HasField("run_as_group")
    if has_gid and not has_uid and not context.run_as_username:
        raise InvalidArgument("cannot create container: run_as_group needs run_as_user or run_as_username")
    group_part = ""
    if context.run_as_username:
        user_part = context.run_as_username
    elif has_uid:
        user_part = str(accounts.check_id(context.run_as_user.value, "run_as_user"))
    else:
        user_part, _, group_part = image_user.partition(":")

    passwd, group = accounts.read(root_fd, accounts.PASSWD), accounts.read(root_fd, accounts.GROUP)
    uid = accounts.parse_id(user_part) if user_part else 0
    if uid is None:
        account = accounts.find_user(passwd, os.fsencode(user_part))
        if account is None:
            raise InvalidArgument(
                f"cannot create container: user {user_part[:100]!r} is not in the image's passwd file; name one "
                "that is, or a number"
            )
        uid = account.uid
    else:
        account = accounts.find_uid(passwd, uid)
    gid = account.gid if account is not None else 0
    members = accounts.groups_of(group, account.name) if account is not None and not group_part else []
    if group_part:
        gid = _group_number(group, group_part)
    if has_gid:
        gid = accounts.check_id(context.run_as_group.value, "run_as_group")
    groups = [gid]
    if context.supplemental_groups_policy == pb.Merge:
        groups += members
    elif context.supplemental_groups_policy != pb.Strict:
        raise InvalidArgument(
            f"cannot create container: supplemental groups policy {context.supplemental_groups_policy} is not known"
        )
    groups += [accounts.check_id(number, "supplemental group") for number in context.supplemental_groups]
    home = account.home if account is not None else ""
    return ResolvedUser(uid, gid, tuple(dict.fromkeys(groups)), home, passwd, group)


def _group_number(group: AccountFile, text: str) -> int:
    number = accounts.parse_id(text)
    if number is None:
        number = accounts.find_group(group, os.fsencode(text))
    if number is None:
        raise InvalidArgument(
            f"cannot create container: group {text[:100]!r} is not in the image's group file; name one that "
            "is, or a number"
        )
    return number


def account_mounts(user: ResolvedUser, *, home: str, covered: Container[str], notes: Notes) -> list[Mount]:
    """Mounts of copies of passwd and group with a line for the container's user and group, where they have none.

    Many programs fail for a user without a name. The copies are planned as files. Nothing is done for
    files that the image lacks or lets the user write, or that one of the `covered` mount points hides.
    """
    if "/etc" in covered:
        return []
    mounts = []
    if "/etc/passwd" not in covered and accounts.find_uid(user.passwd, user.uid) is None:
        # A colon or line break in the home directory would be another field or line.
        safe_home = home if home.startswith("/") and not any(c in home for c in ":\n\r") else "/"
        line = f"{user.uid}:x:{user.uid}:{user.gid}:{user.uid} user:{safe_home}:/sbin/nologin\n"
        mounts += _with_line(user.passwd, user.uid == user.passwd.uid, line, "passwd", notes)
    if "/etc/group" not in covered and not accounts.has_gid(user.group, user.gid):
        line = f"{user.gid}:x:{user.gid}:\n"
        mounts += _with_line(user.group, user.gid == user.group.gid, line, "group", notes)
    return mounts


def _with_line(file: AccountFile, owned: bool, line: str, name: str, notes: Notes) -> list[Mount]:
    writable = file.mode & 0o022 or (owned and file.mode & 0o200)
    if not file.data or writable:
        return []
    separator = b"" if file.data.endswith(b"\n") else b"\n"
    # The image chooses its content too: on the host it is never a program, least of all one that runs as its owner.
    path = notes.write(name, file.data + separator + line.encode(), file.mode & 0o666, file.uid, file.gid)
    return [Mount(f"/etc/{name}", "bind", path, list(_MOUNT_OPTIONS))]
