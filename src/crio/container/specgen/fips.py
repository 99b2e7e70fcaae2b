"""FIPS mode: on a host in that mode a container's cryptographic libraries are told so, unless its pod opts out.

All sources are in the container's own root, whose paths the image chooses: they are resolved there, and must not be
links (CVE-2024-9341).
"""

from __future__ import annotations

import errno
import os
import stat

from crio.container.specgen.plan import Notes
from crio.linux.openat2 import open_beneath, open_in_root
from crio.spec.oci_runtime import Mount

_BACKENDS = "/usr/share/crypto-policies/back-ends/FIPS"
_BACKENDS_TARGET = "/etc/crypto-policies/back-ends"
_CONFIG = "/usr/share/crypto-policies/default-fips-config"
_CONFIG_TARGET = "/etc/crypto-policies/config"
_SYSTEM_FIPS = "/etc/system-fips"
_SECRETS = "/run/secrets"


def fips_mounts(root_fd: int, rootfs: str, *, owner: tuple[int, int], notes: Notes) -> list[Mount]:
    """The mounts for a host in FIPS mode."""
    mounts = []
    if _links_to(root_fd, _SYSTEM_FIPS, f"{_SECRETS}/system-fips"):
        source = notes.make_directory("fips-secrets", *owner)
        notes.write("fips-secrets/system-fips", b"", 0o644, *owner)
        mounts.append(Mount(_SECRETS, "bind", source, ["bind", "rprivate"]))
    if not _is(root_fd, _BACKENDS, stat.S_IFDIR):
        return mounts
    mounts.append(Mount(_BACKENDS_TARGET, "bind", rootfs + _BACKENDS, ["bind", "rprivate"]))
    if _is(root_fd, _CONFIG, stat.S_IFREG):
        config = rootfs + _CONFIG
    else:
        config = notes.write("fips-config", b"FIPS\n", 0o644, *owner)
    mounts.append(Mount(_CONFIG_TARGET, "bind", config, ["bind", "rprivate"]))
    return mounts


def fips_off_mounts(notes: Notes) -> list[Mount]:
    """The container sees a kernel that is not in FIPS mode."""
    path = notes.write("sysctl-fips", b"0\n", 0o444)
    return [Mount("/proc/sys/crypto/fips_enabled", "bind", path, ["noexec", "nosuid", "nodev", "ro", "bind"])]


def _is(root_fd: int, path: str, kind: int) -> bool:
    try:
        fd = open_beneath(root_fd, path.lstrip("/"), os.O_PATH)
    except OSError:
        return False
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode) == kind
    finally:
        os.close(fd)


def _links_to(root_fd: int, path: str, target: str) -> bool:
    parent, name = os.path.split(path)
    try:
        fd = open_in_root(root_fd, parent, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return os.path.normpath(os.path.join("/", os.readlink(name, dir_fd=fd))) == target
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    finally:
        os.close(fd)
