"""A pod's namespaces with a user namespace of its own: pinned together, and owned by it.

Who owns a network namespace decides whose root may configure it, and so on for the others: they are made in the user
namespace, and then set up from outside by a thread that enters them one by one.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence

from crio.base.errors import InvalidArgument
from crio.linux import mount
from crio.linux.libc import check, libc, syscall
from crio.linux.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWUTS,
    in_fresh_thread,
    loopback_up,
    pin_process,
    sysctl_path,
    unpin,
    write_sysctl,
)
from crio.linux.user_namespace import held_namespaces, open_user_namespace

_KINDS = {"net": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}
_SETRESUID = {"x86_64": 117, "aarch64": 147}
_SAME = -1

Map = Sequence[tuple[int, int, int]]
"""Lines of a map: id inside, id here, how many."""


def are_possible() -> bool:
    """Whether this node can have pods with user namespaces: it lets them be made, and can map owners (Linux 5.12)."""
    one = [(0, 1_000_000, 1)]
    try:
        os.close(open_user_namespace(one, one))
    except (OSError, InvalidArgument):
        return False
    return mount.has_mount_setattr()


def pin_owned(
    paths: Mapping[str, str],
    uids: Map,
    gids: Map,
    *,
    hostname: str | None = None,
    sysctls: Mapping[str, str] | None = None,
) -> None:
    """Create a user namespace with these maps, and in it new ones of the other kinds in `paths`, and pin all of them.

    `paths` has the file for "user" and for any of "net", "ipc" and "uts". The rest as `namespaces.pin`, and the
    errors of `user_namespace.held_namespaces`.
    """
    inside = {kind: path for kind, path in paths.items() if kind != "user"}
    if "user" not in paths or not inside.keys() <= _KINDS.keys():
        raise InvalidArgument(f"cannot pin namespaces of kinds {', '.join(paths)}: user, net, ipc and uts are known")
    if hostname is not None and ("uts" not in paths or not 0 < len(hostname) <= 64 or "\0" in hostname):
        raise InvalidArgument(
            f"cannot set host name {hostname[:80]!r}: it needs a UTS namespace and 1 to 64 characters"
        )
    settings = [(sysctl_path(name, value, inside), value) for name, value in (sysctls or {}).items()]
    flags = 0
    for kind in inside:
        flags |= _KINDS[kind]
    with held_namespaces(uids, gids, flags) as pid:
        pin_process(pid, paths)
    try:
        in_fresh_thread(lambda: _set_up(inside, uids, hostname, settings))
    except BaseException:
        for path in paths.values():
            unpin(path)
        raise


def _set_up(paths: Mapping[str, str], uids: Map, hostname: str | None, settings: list[tuple[str, str]]) -> None:
    for kind, path in paths.items():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            check(libc.setns(fd, _KINDS[kind]), path)
        finally:
            os.close(fd)
    if hostname is not None:
        encoded = os.fsencode(hostname)
        check(libc.sethostname(encoded, len(encoded)))
    if "net" in paths:
        loopback_up()
    of_net = [item for item in settings if item[0].startswith("/proc/sys/net/")]
    for path, value in of_net:
        write_sysctl(path, value)
    others = [item for item in settings if item not in of_net]
    if others:
        # These may be written only as the root of the namespace, whatever one's capabilities; this thread ends soon.
        root = next(here for inside, here, _ in uids if inside == 0)
        syscall(_SETRESUID[os.uname().machine], ctypes.c_long(_SAME), ctypes.c_long(root), ctypes.c_long(_SAME))
        for path, value in others:
            write_sysctl(path, value)
