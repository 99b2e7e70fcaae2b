"""Device nodes of a container: crio.conf's, those of an allowed annotation, the request's, or all of the host's."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.spec.oci_runtime import Device, DeviceRule, Resources

_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"})
_MAX_DEVICES = 16384


class DeviceText(msgspec.Struct, frozen=True):
    """`SOURCE[:TARGET][:rwm]`, taken apart."""

    source: str
    target: str
    access: str


@lru_cache(maxsize=64)
def parse_device(text: str) -> DeviceText:
    """Raises InvalidArgument if it is malformed, or the target is not in /dev."""
    parts = text.split(":")
    source, target, access = parts[0], "", "rwm"
    if len(parts) == 2 and _is_access(parts[1]):
        access = parts[1]
    elif len(parts) in (2, 3):
        target = parts[1]
        access = parts[2] if len(parts) == 3 else access
    target = target or source
    if len(parts) > 3 or not source.startswith("/") or not _is_access(access):
        raise InvalidArgument(f"cannot use device {text[:200]!r}: the form is /dev/host:/dev/container:rwm")
    if not posixpath.normpath(target).startswith("/dev/"):
        raise InvalidArgument(f"cannot use device {text[:200]!r}: it would not be in the container's /dev")
    return DeviceText(source, target, access)


def _is_access(text: str) -> bool:
    return 0 < len(text) <= 3 and set(text) <= set("rwm") and len(set(text)) == len(text)


def add_configured(devices: list[Device], resources: Resources, texts: Sequence[str]) -> None:
    """Add the devices of crio.conf's additional_devices. Raises InvalidArgument if one is no device."""
    for text in texts:
        device = parse_device(text)
        _add(devices, resources, _stat(device.source), device.target, device.access, with_mode=True)


def add_annotated(devices: list[Device], resources: Resources, text: str, allowed: Sequence[str]) -> None:
    """Add the devices of the annotation, a list with commas. Raises InvalidArgument for one that is not allowed."""
    for item in filter(None, text.split(",")):
        source = parse_device(item).source
        if source not in allowed:
            raise InvalidArgument(f"cannot use device {source[:200]}: it is not in crio.conf's allowed_devices")
    add_configured(devices, resources, [item for item in text.split(",") if item])


def add_requested(
    devices: list[Device], resources: Resources, requested: Sequence[pb.Device], *, owner: tuple[int | None, int | None]
) -> None:
    """Add the request's devices; a directory stands for all devices below it. `owner` replaces the host's, if given.

    Raises InvalidArgument for a path that is neither.
    """
    for request in requested:
        access = request.permissions or "rwm"
        if not _is_access(access):
            raise InvalidArgument(
                f"cannot use device {request.host_path[:200]!r}: permissions {access[:40]!r} are not of r, w and m"
            )
        if not request.container_path.startswith("/") or "\0" in request.container_path + request.host_path:
            raise InvalidArgument(
                f"cannot use device {request.host_path[:200]!r} at {request.container_path[:200]!r}: both must be "
                "absolute paths"
            )
        path = os.path.realpath(request.host_path)
        status = _stat_any(path)
        if stat.S_ISDIR(status.st_mode):
            for name, child in _walk(path):
                _add(devices, resources, child, posixpath.join(request.container_path, name), access)
        else:
            _check_device(status, request.host_path)
            _add(devices, resources, status, request.container_path, access, owner=owner)


def add_host_devices(devices: list[Device], resources: Resources) -> None:
    """Give a privileged container every device of the host's /dev, and the right to use and make any."""
    for name, status in _walk("/dev", skipped=_SKIPPED):
        _add(devices, None, status, f"/dev/{name}", "rwm", with_mode=True)
    resources.devices = [DeviceRule(True, access="rwm")]


def check_privileged(requested: Sequence[pb.Device]) -> None:
    """A privileged container sees the host's devices; one under another name must not hide one of them.

    Raises InvalidArgument.
    """
    for device in requested:
        if device.container_path != device.host_path and os.path.lexists(device.container_path):
            raise InvalidArgument(
                f"cannot use device {device.host_path[:200]}: a privileged container has the host's "
                f"{device.container_path[:200]} already"
            )


def _walk(top: str, *, skipped: frozenset[str] = frozenset(), below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to `top`, status) of every device; links and what vanishes meanwhile are left out."""
    count = 0
    waiting = [below]
    while waiting:
        directory = waiting.pop()
        try:
            entries = os.scandir(os.path.join(top, directory))
        except OSError:
            continue
        with entries:
            for entry in entries:
                name = os.path.join(directory, entry.name)
                if entry.name in skipped or entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                    count += 1
                    if count > _MAX_DEVICES:
                        raise InvalidArgument(f"cannot use devices of {top}: there are more than {_MAX_DEVICES}")
                    yield name, status


def _add(
    devices: list[Device],
    resources: Resources | None,
    status: os.stat_result,
    path: str,
    access: str,
    *,
    owner: tuple[int | None, int | None] = (None, None),
    with_mode: bool = False,
) -> None:
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if not major and not minor:
        # A whiteout of an overlay.
        return
    devices[:] = [device for device in devices if device.path != path] if resources is not None else devices
    devices.append(
        Device(
            type=kind,
            path=path,
            major=major,
            minor=minor,
            file_mode=stat.S_IMODE(status.st_mode) if with_mode else None,
            uid=status.st_uid if owner[0] is None else owner[0],
            gid=status.st_gid if owner[1] is None else owner[1],
        )
    )
    if resources is not None:
        resources.devices.append(DeviceRule(True, kind, major, minor, access))


def _stat(path: str) -> os.stat_result:
    status = _stat_any(path)
    _check_device(status, path)
    return status


def _stat_any(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"cannot use device {path[:200]}: {error.strerror}") from None


def _check_device(status: os.stat_result, path: str) -> None:
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise InvalidArgument(f"cannot use device {path[:200]}: it is no device")
