"""Where the store is and how it behaves: from storage.conf (containers-storage.conf(5)) and whoever opens it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.files import read_bounded

SYSTEM_CONF = "/etc/containers/storage.conf"
VENDOR_CONF = "/usr/share/containers/storage.conf"
DEFAULT_GRAPHROOT = "/var/lib/containers/storage"
DEFAULT_RUNROOT = "/run/containers/storage"

_MAX_CONF = 1 << 20
_GONE = {
    "devicemapper": "overlay on an xfs or ext4 file system of its own",
    "aufs": "overlay",
    "zfs": "overlay on a file system of the pool (OpenZFS 2.2 and later)",
}
_TRUE, _FALSE = frozenset(("true", "1", "t", "yes")), frozenset(("false", "0", "f", "no", ""))
_KNOWN = ("mountopt", "skip_mount_home", "ignore_chown_errors", "imagestore", "additionalimagestore")


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
        value = None
        for text in self.driver_options:
            name, _, given = text.partition("=")
            if name.removeprefix("storage.").removeprefix(f"{self.driver}.").removeprefix(".") == key:
                value = given
        return value

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

    def check(self) -> StoreOptions:
        """These options, if they can be used. Raises InvalidArgument saying what to change."""
        for name, path in (("root", self.graphroot), ("runroot", self.runroot)):
            if not os.path.isabs(path):
                raise InvalidArgument(f"cannot use storage {name} {path!r}: it is not an absolute path")
        if self.driver in _GONE:
            raise InvalidArgument(
                f"cannot use storage driver {self.driver}: it no longer exists; use {_GONE[self.driver]}, "
                f"and pull the images again"
            )
        if self.driver not in ("overlay", "vfs"):
            raise InvalidArgument(f"cannot use storage driver {self.driver!r}: known are overlay and vfs")
        if self.option("mount_program"):
            raise InvalidArgument(
                "cannot use mount_program: overlay is mounted by the kernel here; remove the option from storage.conf"
            )
        for key in ("size", "inodes"):
            if self.option(key):
                raise InvalidArgument(f"cannot use storage option {key}: quotas are not supported; remove the option")
        return self


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
    Raises InvalidArgument if it is not valid TOML or a value has the wrong type.
    """
    environ = os.environ if environ is None else environ
    options = StoreOptions()
    path = environ.get("CONTAINERS_STORAGE_CONF", "")
    for candidate in [path] if path else [SYSTEM_CONF, VENDOR_CONF]:
        try:
            data = read_bounded(candidate, _MAX_CONF)
        except FileNotFoundError:
            continue
        options = parse(data, candidate, options)
        break
    if environ.get("STORAGE_DRIVER"):
        options = msgspec.structs.replace(options, driver=environ["STORAGE_DRIVER"])
    if environ.get("STORAGE_OPTS"):
        options = msgspec.structs.replace(options, driver_options=_split_options(environ["STORAGE_OPTS"]))
    if driver and driver != options.driver:
        # Options of storage.conf were meant for its own driver.
        options = msgspec.structs.replace(options, driver=driver, driver_options=())
    return _place_stores(
        msgspec.structs.replace(
            options,
            graphroot=graphroot or options.graphroot,
            runroot=runroot or options.runroot,
            driver_options=tuple(driver_options) or options.driver_options,
            imagestore=imagestore or options.imagestore,
        )
    )


def parse(data: bytes, path: str, base: StoreOptions) -> StoreOptions:
    """`base` changed by one storage.conf. Keys that have no meaning here are passed over, as by the other tools."""
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from None
    storage = _table(document, "storage", path)
    options = _table(storage, "options", path)
    driver = _text(storage, "driver", path) or base.driver
    pairs: list[str] = []
    for table in (options, _table(options, driver, path)):
        for key, value in table.items():
            if isinstance(value, (str, bool)):
                text = ("true" if value else "false") if isinstance(value, bool) else value
                pairs.append(f"{driver}.{key}={text}")
    others = options.get("additionalimagestores") or []
    if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
        raise InvalidArgument(f"cannot read {path}: additionalimagestores is not a list of paths")
    transient = storage.get("transient_store", base.transient)
    if not isinstance(transient, bool):
        raise InvalidArgument(f"cannot read {path}: transient_store is neither true nor false")
    return msgspec.structs.replace(
        base,
        driver=driver,
        graphroot=_text(storage, "graphroot", path) or base.graphroot,
        runroot=_text(storage, "runroot", path) or base.runroot,
        imagestore=_text(storage, "imagestore", path) or base.imagestore,
        driver_options=tuple(pairs) or base.driver_options,
        additional_image_stores=tuple(others) or base.additional_image_stores,
        transient=transient,
    )


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
        if found and "." not in part.partition("=")[0] and key not in _KNOWN:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return tuple(found)


def _table(parent: Mapping[str, object], key: str, path: str) -> dict[str, object]:
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise InvalidArgument(f"cannot read {path}: {key} is not a table")
    return value


def _text(table: Mapping[str, object], key: str, path: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InvalidArgument(f"cannot read {path}: {key} is not a text")
    return os.path.expandvars(value)
