"""Where the store is and how it behaves: storage.conf (`storageconf.py`), variables, and whoever opens it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.regex import regex

DEFAULT_GRAPHROOT = "/var/lib/containers/storage"
DEFAULT_RUNROOT = "/run/containers/storage"
DRIVERS = ("overlay", "vfs", "btrfs")

_ALIASES = {"overlay2": "overlay"}
_GONE = {
    "devicemapper": "overlay on an xfs or ext4 file system of its own",
    "aufs": "overlay",
    "zfs": "overlay on a file system of the pool (OpenZFS 2.2 and later)",
}
_TRUE, _FALSE = frozenset(("true", "1", "t", "yes", "on")), frozenset(("false", "0", "f", "no", "off", ""))
_EVERYWHERE = ("imagestore", "additionalimagestore", "disable-volatile")
TABLE_KEYS: Mapping[str, Sequence[str]] = {
    "overlay": (
        "mountopt",
        "mount_program",
        "skip_mount_home",
        "ignore_chown_errors",
        "size",
        "inodes",
        "force_mask",
        "use_composefs",
    ),
    "vfs": ("ignore_chown_errors",),
    "btrfs": ("size", "min_space", "mountopt"),
}
"""What storage.conf's table of a driver may have (storage.conf(5))."""
_KNOWN = {
    "overlay": TABLE_KEYS["overlay"],
    "vfs": (*TABLE_KEYS["vfs"], "mountopt"),
    "btrfs": (*TABLE_KEYS["btrfs"], "ignore_chown_errors"),
}
_ANY = frozenset((*_EVERYWHERE, *(key for keys in _KNOWN.values() for key in keys)))
_WITHOUT_EFFECT = frozenset(("override_kernel_check", "additionallayerstore", "sync"))
_SIZE = regex(r"(\d{1,18})([kmgtpe]?)(?:i?b)?", re.IGNORECASE)
_MASKS = {"shared": 0o755, "private": 0o700}


def driver_name(text: str) -> str:
    """A driver's name, also by its older one."""
    return _ALIASES.get(text, text)


class StoreOptions(msgspec.Struct, frozen=True):
    graphroot: str = DEFAULT_GRAPHROOT
    runroot: str = DEFAULT_RUNROOT
    driver: str = "overlay"
    driver_options: Sequence[str] = ()
    """`[driver.]key=value`, as `storage_option` of crio.conf and STORAGE_OPTS; a later one wins."""
    imagestore: str | None = None
    """Another directory for images and their layers."""
    additional_image_stores: Sequence[str] = ()
    """Read-only stores, looked into in this order after the writable one."""
    transient: bool = False
    """Containers' records live in the run directory only."""
    sync: bool = True
    """Image layers reach the disk before they count as whole. Only tests and throw-away stores go without."""
    lock_timeout: float = 600.0
    """Seconds to wait for other tools' locks."""

    def option(self, key: str) -> str | None:
        """The value of one driver option, with or without the driver's name before it."""
        return self._given().get(key)

    def flag(self, key: str) -> bool:
        value = self.option(key)
        if value is None or value.lower() in _FALSE:
            return False
        if value.lower() in _TRUE:
            return True
        raise InvalidArgument(f"cannot use storage option {key}={value}: it is neither true nor false")

    @property
    def mount_options(self) -> list[str]:
        """`mountopt`, split at commas."""
        return [part for part in (self.option("mountopt") or "").split(",") if part]

    @property
    def size_limit(self) -> int | None:
        """`size`: bytes that a container may write into its root file system; None for no limit."""
        text = self.option("size")
        return parse_size(text, "size") or None if text else None

    @property
    def inode_limit(self) -> int | None:
        """`inodes`: how many files a container may make in its root file system; None for no limit."""
        text = self.option("inodes")
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidArgument(f"cannot use storage option inodes={text}: it is not a number of files")
        return int(text) or None

    @property
    def force_mask(self) -> int | None:
        """`force_mask`: the mode of every file on disk; the image's own mode is kept in an attribute."""
        text = self.option("force_mask")
        if not text:
            return None
        if text in _MASKS:
            return _MASKS[text]
        if not re.fullmatch(r"0?[0-7]{3}", text):
            raise InvalidArgument(
                f"cannot use storage option force_mask={text}: it is neither shared nor private nor an octal mode"
            )
        return int(text, 8)

    def check(self) -> StoreOptions:
        """These options, if they can be used. Raises InvalidArgument saying what to change."""
        places = [("root", self.graphroot), ("runroot", self.runroot)]
        places += [("imagestore", self.imagestore)] if self.imagestore else []
        places += [("additional image store", other) for other in self.additional_image_stores]
        for name, path in places:
            if not os.path.isabs(path) or "\0" in path:
                raise InvalidArgument(f"cannot use storage {name} {path!r}: it is not an absolute path")
        if self.driver in _GONE:
            raise InvalidArgument(
                f"cannot use storage driver {self.driver}: it no longer exists; use {_GONE[self.driver]}, "
                f"and pull the images again"
            )
        if self.driver not in DRIVERS:
            raise InvalidArgument(f"cannot use storage driver {self.driver!r}: known are {', '.join(DRIVERS)}")
        self._check_options()
        return self

    def _check_options(self) -> None:
        known = (*_KNOWN[self.driver], *_EVERYWHERE)
        for key in self._given():
            if key not in known and key not in _WITHOUT_EFFECT:
                raise InvalidArgument(
                    f"cannot use storage option {key}: the driver {self.driver} has {', '.join(sorted(known))}"
                )
        for key in ("skip_mount_home", "ignore_chown_errors", "disable-volatile"):
            self.flag(key)
        if self.flag("use_composefs"):
            raise InvalidArgument(
                "cannot use storage option use_composefs: layers are plain directories here; remove the option"
            )
        _ = self.size_limit, self.inode_limit
        if self.option("min_space"):
            parse_size(self.option("min_space") or "", "min_space")
        program = self.option("mount_program")
        if program and not os.access(program, os.X_OK):
            raise InvalidArgument(
                f"cannot use mount_program {program}: there is no such program; install fuse-overlayfs, or remove the "
                f"option so that the kernel mounts overlay"
            )
        if self.force_mask is not None and not program:
            raise InvalidArgument("cannot use force_mask without mount_program: the kernel would show the forced modes")
        if self.driver == "vfs" and self.mount_options:
            raise InvalidArgument(
                "cannot use storage option mountopt: the driver vfs mounts nothing; remove the option"
            )

    def _given(self) -> dict[str, str]:
        """Options by their plain names. Those of another driver count for nothing, as in storage.conf."""
        found: dict[str, str] = {}
        for text in self.driver_options:
            name, _, value = text.partition("=")
            name = name.strip().removeprefix("storage.").removeprefix("overlay2." if self.driver == "overlay" else "")
            name = name.removeprefix(f"{self.driver}.").removeprefix(".")
            if "." not in name:
                found[name] = value.strip()
        return found


def load(
    *,
    environ: Mapping[str, str] | None = None,
    graphroot: str = "",
    runroot: str = "",
    driver: str = "",
    driver_options: Sequence[str] = (),
    imagestore: str = "",
) -> StoreOptions:
    """The options in effect: built-in defaults, then the first storage.conf that exists, then STORAGE_DRIVER and
    STORAGE_OPTS, then the arguments that are not empty (crio.conf's root, runroot, storage_driver, storage_option).

    The file is $CONTAINERS_STORAGE_CONF, else /etc/containers/storage.conf, else /usr/share/containers/storage.conf.
    Each of the last three adds its driver options to the earlier ones' but for STORAGE_OPTS, which replaces the file's;
    those of a file for another driver than the one in effect do not count. Raises InvalidArgument if the file is not
    valid or a value has the wrong type.
    """
    from crio.storage import storageconf  # lazy: it reads TOML, which workers that are given options do not need

    environ = os.environ if environ is None else environ
    options = storageconf.read(environ, StoreOptions())
    if environ.get("STORAGE_DRIVER"):
        options = msgspec.structs.replace(options, driver=environ["STORAGE_DRIVER"])
    if environ.get("STORAGE_OPTS"):
        options = msgspec.structs.replace(options, driver_options=_split_options(environ["STORAGE_OPTS"]))
    return _place_stores(
        msgspec.structs.replace(
            options,
            graphroot=graphroot or options.graphroot,
            runroot=runroot or options.runroot,
            driver=driver_name(driver or options.driver),
            driver_options=(*options.driver_options, *driver_options),
            imagestore=imagestore or options.imagestore,
        )
    )


def parse_size(text: str, key: str) -> int:
    """Bytes of a size such as 10G, 512MiB or 1048576; units are powers of 1024. Raises InvalidArgument."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"cannot use storage option {key}={text}: write a size as 10G, 512M or 1048576")
    return int(match[1]) << 10 * " kmgtpe".index(match[2].lower() or " ")


def _place_stores(options: StoreOptions) -> StoreOptions:
    """imagestore and additionalimagestore may also be given as driver options."""
    others = list(options.additional_image_stores)
    for text in options.driver_options:
        key, _, value = text.partition("=")
        if key.rpartition(".")[2] == "additionalimagestore" and value and value not in others:
            others.append(value)
    return msgspec.structs.replace(
        options,
        imagestore=options.imagestore or options.option("imagestore") or None,
        additional_image_stores=tuple(others),
    )


def _split_options(text: str) -> tuple[str, ...]:
    """STORAGE_OPTS is comma-separated; `overlay.mountopt=nodev,metacopy=on` contains a comma of its own."""
    found: list[str] = []
    for part in text.split(","):
        key = part.partition("=")[0].rpartition(".")[2]
        if found and "." not in part.partition("=")[0] and key not in _ANY:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return tuple(found)
