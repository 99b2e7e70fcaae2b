"""Defaults that follow from the machine: storage.conf of the system, SELinux, programs in PATH."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of monitors and runtimes, and where programs are looked for beside the daemon's own PATH."""

STORAGE_CONF = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
LIBEXEC = ("/usr/libexec/crio", "/usr/local/libexec/crio")
_DRIVER_OPTIONS = {
    "overlay": (
        "ignore_chown_errors",
        "mount_program",
        "mountopt",
        "size",
        "inodes",
        "skip_mount_home",
        "force_mask",
        "use_composefs",
    ),
    "vfs": ("ignore_chown_errors",),
    "btrfs": ("size", "min_space", "mountopt"),
}
"""Options of storage.conf that a driver has."""


class StorageDefaults(msgspec.Struct, frozen=True):
    """What storage.conf says, in the terms of crio.conf. Empty values: it says nothing."""

    path: str = ""
    root: str = ""
    runroot: str = ""
    driver: str = ""
    options: tuple[str, ...] = ()
    imagestore: str = ""


def storage_defaults(environ: Mapping[str, str]) -> StorageDefaults:
    """storage.conf (CONTAINERS_STORAGE_CONF, else that of the system), which podman and others on the node use too.

    ValueError or OSError, with the file's name in it, if it cannot be read.
    """
    import tomllib

    named = environ.get("CONTAINERS_STORAGE_CONF", "")
    for path in (named,) if named else STORAGE_CONF:
        try:
            with open(path, "rb") as file:
                content = tomllib.load(file)
        except FileNotFoundError:
            if named:
                raise
            continue
        except (ValueError, RecursionError) as error:
            raise ValueError(f"cannot read {path}: {error}") from None
        return _from_storage_conf(path, content, environ)
    driver = environ.get("STORAGE_DRIVER", "")
    return StorageDefaults(driver=driver, options=_environment_options(environ))


def _from_storage_conf(path: str, content: Mapping[str, Any], environ: Mapping[str, str]) -> StorageDefaults:
    storage = _table(content, "storage")
    options = _table(storage, "options")
    driver = environ.get("STORAGE_DRIVER") or _text(storage, "driver")
    prefix = driver or "overlay"
    found = [f"{prefix}.additionalimagestore={store}" for store in options.get("additionalimagestores") or ()]
    found.extend(f"{prefix}.additionallayerstore={store}" for store in options.get("additionallayerstores") or ())
    own = _table(options, prefix)
    for name in _DRIVER_OPTIONS.get(prefix, ()):
        value = own.get(name) or options.get(name)
        if value:
            found.append(f"{prefix}.{name}={str(value).lower() if isinstance(value, bool) else value}")
    return StorageDefaults(
        path=path,
        root=_text(storage, "graphroot"),
        runroot=_text(storage, "runroot"),
        driver=driver,
        options=_environment_options(environ) or tuple(found),
        imagestore=_text(storage, "imagestore"),
    )


def _environment_options(environ: Mapping[str, str]) -> tuple[str, ...]:
    """STORAGE_OPTS has commas between options and in mountopt: a part without a driver's name belongs to the last."""
    options: list[str] = []
    for part in environ.get("STORAGE_OPTS", "").split(","):
        if options and part and "." not in part.partition("=")[0]:
            options[-1] += f",{part}"
        elif part:
            options.append(part)
    return tuple(options)


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def selinux_enabled() -> bool:
    """Whether the kernel runs SELinux with a policy."""
    return os.path.exists("/sys/fs/selinux/policy") and os.path.exists("/etc/selinux/config")


def find_program(name: str, environ: Mapping[str, str]) -> str:
    """The path of a program in PATH, its usual directories, or libexec/crio; empty if there is none."""
    directories = [*environ.get("PATH", "").split(":"), *DEFAULT_PATH.split(":"), *LIBEXEC]
    for directory in directories:
        path = os.path.join(directory, name)
        if directory and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""
