"""storage.conf (containers-storage.conf(5)), which podman, buildah and skopeo on the node read as well.

What it says and has no meaning for this engine is named in the log with the reason, and ignored: the file belongs to
the others too.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.files import read_bounded
from crio.linux.btrfs import is_btrfs
from crio.storage.options import DRIVERS, TABLE_KEYS, StoreOptions, driver_name

log = logging.getLogger(__name__)

SYSTEM_CONF = "/etc/containers/storage.conf"
VENDOR_CONF = "/usr/share/containers/storage.conf"

_MAX_CONF = 1 << 20
_ROOTLESS = "this engine runs as root"
_USERNS = "the kubelet hands out the user namespaces of pods"
_STORAGE = {
    "driver": "",
    "driver_priority": "",
    "graphroot": "",
    "runroot": "",
    "imagestore": "",
    "transient_store": "",
    "options": "",
    "rootless_storage_path": _ROOTLESS,
}
_OPTIONS = {
    "additionalimagestores": "",
    "disable-volatile": "",
    "mountopt": "",
    "mount_program": "",
    "skip_mount_home": "",
    "ignore_chown_errors": "",
    "size": "",
    "inodes": "",
    "force_mask": "",
    "use_composefs": "",
    "min_space": "",
    "imagestore": "",
    "additionallayerstores": "layers are always fetched whole, so images of such stores are pulled as any other",
    "pull_options": "",
    "remap-uids": _USERNS,
    "remap-gids": _USERNS,
    "remap-user": _USERNS,
    "remap-group": _USERNS,
    "root-auto-userns-user": _USERNS,
    "auto-userns-min-size": _USERNS,
    "auto-userns-max-size": _USERNS,
    "override_kernel_check": "there is no such check",
    "sync": "layers always reach the disk before they count as whole",
    "ostree_repo": "nothing is shared with ostree",
    "thinpool": "devicemapper no longer exists",
    "aufs": "aufs no longer exists",
    "zfs": "zfs as a driver no longer exists",
    **dict.fromkeys(DRIVERS, ""),
}
_ANY_DRIVER = ("disable-volatile", "imagestore")


def read(environ: Mapping[str, str], base: StoreOptions) -> StoreOptions:
    """`base` changed by the storage.conf in effect, if there is one. Raises InvalidArgument if it is not valid."""
    named = environ.get("CONTAINERS_STORAGE_CONF", "")
    for path in (named,) if named else (SYSTEM_CONF, VENDOR_CONF):
        try:
            data = read_bounded(path, _MAX_CONF)
        except FileNotFoundError:
            continue
        return parse(data, path, base)
    return base


def parse(data: bytes, path: str, base: StoreOptions) -> StoreOptions:
    """`base` changed by one storage.conf. Raises InvalidArgument naming `path` and the key."""
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from None
    storage = _table(document, "storage", path)
    options = _table(storage, "options", path)
    for where, table, known in (("storage", storage, _STORAGE), ("storage.options", options, _OPTIONS)):
        _name_ignored(path, where, table, known)
    graphroot = _text(storage, "graphroot", path) or base.graphroot
    named = _text(storage, "driver", path)
    driver = driver_name(named) or _preferred(storage, graphroot, path) or base.driver
    return msgspec.structs.replace(
        base,
        driver=driver,
        graphroot=graphroot,
        runroot=_text(storage, "runroot", path) or base.runroot,
        imagestore=_text(storage, "imagestore", path) or base.imagestore,
        driver_options=tuple(_pairs(options, driver, path)) or base.driver_options,
        additional_image_stores=tuple(_texts(options, "additionalimagestores", path)) or base.additional_image_stores,
        transient=_flag(storage, "transient_store", path, base.transient),
    )


def _pairs(options: Mapping[str, object], driver: str, path: str) -> list[str]:
    """Driver options: those of the table of all drivers, then each driver's own, which win."""
    found: list[str] = []
    known = (*TABLE_KEYS.get(driver, ()), *_ANY_DRIVER)
    found += [
        f"{driver}.{key}={_value(options[key], key, path)}" for key in known if options.get(key) not in (None, "")
    ]
    for name in DRIVERS:
        table = _table(options, name, path)
        _name_ignored(path, f"storage.options.{name}", table, dict.fromkeys((*TABLE_KEYS[name], *_ANY_DRIVER), ""))
        found += [
            f"{name}.{key}={_value(value, key, path)}"
            for key, value in table.items()
            if key in (*TABLE_KEYS[name], *_ANY_DRIVER)
        ]
    return found


def _preferred(storage: Mapping[str, object], graphroot: str, path: str) -> str:
    """The first driver of driver_priority that can be used, "" if none or no such key."""
    for name in _texts(storage, "driver_priority", path):
        if name in DRIVERS and (name != "btrfs" or is_btrfs(graphroot)):
            return name
    return ""


def _name_ignored(path: str, where: str, table: Mapping[str, object], known: Mapping[str, str]) -> None:
    for key, value in table.items():
        reason = known.get(key, "it is not known")
        if reason and value not in ("", [], {}):
            log.info("%s: %s of [%s] is ignored: %s", path, key, where, reason)


def _value(value: object, key: str, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    raise InvalidArgument(f"cannot read {path}: {key} is neither a text, a number nor true or false")


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


def _texts(table: Mapping[str, object], key: str, path: str) -> list[str]:
    value = table.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"cannot read {path}: {key} is not a list of texts")
    return [os.path.expandvars(item) for item in value]


def _flag(table: Mapping[str, object], key: str, path: str, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"cannot read {path}: {key} is neither true nor false")
    return value
