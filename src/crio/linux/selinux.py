"""SELinux: its state, and the labels of files and processes, through the kernel's files and xattrs alone.

libselinux is not needed for any of it, and would cost memory on every node.
"""

from __future__ import annotations

import errno
import os

XATTR = "security.selinux"
_FS = "/sys/fs/selinux"
_CONFIG = "/etc/selinux/config"
_LIMIT = 64 << 10


def is_enabled() -> bool:
    """Whether a policy is loaded: labels then mean something, enforcing or not."""
    return os.path.exists(f"{_FS}/policy") and bool(process_label())


def process_label(pid: int | str = "self") -> str:
    """The label of a process; "" without SELinux or if the process is gone."""
    try:
        with open(f"/proc/{pid}/attr/current", "rb") as file:
            label = file.read(4096)
    except OSError:
        return ""
    text = label.rstrip(b"\0\n").decode("ascii", "replace")
    return text if text.count(":") >= 2 else ""


def knows(label: str) -> bool:
    """Whether the loaded policy has a label's user, role, type and level, and allows them together.

    True as well where nobody can be asked: without a policy, or where the policy forbids the question.
    """
    try:
        fd = os.open(f"{_FS}/context", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        os.write(fd, label.encode("ascii") + b"\0")
    except OSError as error:
        return error.errno != errno.EINVAL
    finally:
        os.close(fd)
    return True


def file_label(path: str | int, *, follow: bool = True) -> str:
    """The label of a file (path or descriptor); "" if it has none. Raises OSError."""
    try:
        raw = os.getxattr(path, XATTR) if isinstance(path, int) else os.getxattr(path, XATTR, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return ""
        raise
    return raw.rstrip(b"\0").decode("ascii", "replace")


def set_file_label(path: str | int, label: str, *, follow: bool = True) -> None:
    """Raises OSError: EOPNOTSUPP where the file system has no labels, EINVAL for one that the policy does not know."""
    value = label.encode("ascii") + b"\0"
    if isinstance(path, int):
        os.setxattr(path, XATTR, value)
    else:
        os.setxattr(path, XATTR, value, follow_symlinks=follow)


def policy_name(config: str = _CONFIG) -> str:
    """SELINUXTYPE of /etc/selinux/config, such as "targeted"."""
    try:
        with open(config, encoding="utf-8", errors="replace") as file:
            for line in file.read(_LIMIT).splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "SELINUXTYPE":
                    return value.strip()
    except OSError:
        pass
    return "targeted"


def container_contexts(config: str = _CONFIG) -> dict[str, str]:
    """The policy's labels for containers (lxc_contexts): "process", "file", "kvm_process", "init_process", ...

    Empty if the policy has none.
    """
    path = os.path.join(os.path.dirname(config), policy_name(config), "contexts", "lxc_contexts")
    contexts: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LIMIT).splitlines()
    except OSError:
        return contexts
    for line in lines:
        key, separator, value = line.partition("=")
        if separator and not key.lstrip().startswith("#"):
            contexts[key.strip()] = value.strip().strip('"')
    return contexts
