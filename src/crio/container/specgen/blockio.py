"""Block IO classes: crio.conf's blockio_config_file names them, and annotations choose one for a container.

The file is that of other tools of the field (YAML): under `Classes`, a list of settings for each name, each with
`Weight`, `ThrottleReadBps` and the like, for all block devices or for those that its `Devices` patterns match.
"""

from __future__ import annotations

import glob
import logging
import os
import stat
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from crio.base.errors import InvalidArgument
from crio.base.files import read_bounded
from crio.base.regex import regex
from crio.spec.oci_runtime import BlockIo, ThrottleDevice, WeightDevice

log = logging.getLogger(__name__)

CLASS = "blockio.resources.beta.kubernetes.io"
"""Of a pod: CLASS/pod for all of its containers, CLASS/container.NAME for one."""
CONTAINER_CLASS = "io.kubernetes.cri.blockio-class"
"""Of a container, set by the kubelet; it wins."""

MAX_FILE = 1 << 20
_MAX_DEVICES = 1024
_RATE = regex(r"(\d{1,15})([kMGT]?i?)(?:B|/s)?")
_POWER = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "ki": 1 << 10,
}


class _Settings(Struct, frozen=True):
    devices: tuple[str, ...] = field(default=(), name="Devices")
    weight: int | str | None = field(default=None, name="Weight")
    read_bps: int | str | None = field(default=None, name="ThrottleReadBps")
    write_bps: int | str | None = field(default=None, name="ThrottleWriteBps")
    read_iops: int | str | None = field(default=None, name="ThrottleReadIOPS")
    write_iops: int | str | None = field(default=None, name="ThrottleWriteIOPS")


class _File(Struct, frozen=True):
    classes: dict[str, tuple[_Settings, ...]] = field(default_factory=dict, name="Classes")


def class_of(container: str, container_annotations: Mapping[str, str], pod_annotations: Mapping[str, str]) -> str:
    """The class that a container is to have; "" for none."""
    return (
        container_annotations.get(CONTAINER_CLASS)
        or pod_annotations.get(f"{CLASS}/container.{container}")
        or pod_annotations.get(f"{CLASS}/pod")
        or ""
    )


class BlockIoClasses:
    """The classes of one file. Devices are looked up when the file is loaded, and again by `reload`."""

    def __init__(self, path: str) -> None:
        """Raises InvalidArgument if the file cannot be understood, OSError if it cannot be read."""
        self._path = path
        self._classes: dict[str, BlockIo] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again. If that fails, as the constructor does, the former classes stay."""
        import yaml  # lazy: few nodes have such a file

        data = read_bounded(self._path, MAX_FILE)
        try:
            value: Any = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            parsed = msgspec.convert(value or {}, _File)
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            reason = " ".join(str(error).split())
            raise InvalidArgument(f"cannot use block IO classes of {self._path}: {reason}") from None
        self._classes = {name: _resolve(name, settings) for name, settings in parsed.classes.items()}

    def get(self, name: str) -> BlockIo:
        """The limits of a class. Raises InvalidArgument if there is none of that name."""
        if name not in self._classes:
            raise InvalidArgument(f"cannot use block IO class {name[:100]!r}: {self._path} has none of that name")
        return self._classes[name]


class ConfiguredClasses:
    """The classes of the file that crio.conf names now."""

    def __init__(self) -> None:
        self._path = ""
        self._classes: BlockIoClasses | None = None

    def classes(self, path: str) -> BlockIoClasses | None:
        """Those of the file at `path`, loaded once; None for "". Raises as `BlockIoClasses`."""
        if path != self._path or (path and self._classes is None):
            self._classes = BlockIoClasses(path) if path else None
            self._path = path
        return self._classes


def _resolve(name: str, settings: tuple[_Settings, ...]) -> BlockIo:
    limits = BlockIo()
    for item in settings:
        weight = _number(item.weight)
        if weight is not None and not 10 <= weight <= 1000:
            raise InvalidArgument(
                f"cannot use block IO class {name[:100]!r}: weight {weight} is not within 10 and 1000"
            )
        throttles = (
            (item.read_bps, limits.throttle_read_bps_device),
            (item.write_bps, limits.throttle_write_bps_device),
            (item.read_iops, limits.throttle_read_iops_device),
            (item.write_iops, limits.throttle_write_iops_device),
        )
        if not item.devices:
            if any(rate is not None for rate, _ in throttles):
                raise InvalidArgument(f"cannot use block IO class {name[:100]!r}: a throttle names no devices")
            limits.weight = weight if weight is not None else limits.weight
            continue
        devices = _block_devices(item.devices)
        if not devices:
            log.warning("block IO class %s: no device matches %s", name, ", ".join(item.devices))
        for major, minor in devices:
            if weight is not None:
                limits.weight_device.append(WeightDevice(major=major, minor=minor, weight=weight))
            for rate, target in throttles:
                number = _number(rate)
                if number is not None:
                    target.append(ThrottleDevice(major=major, minor=minor, rate=number))
    return limits


def _number(value: int | str | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    match = _RATE.fullmatch(value.strip())
    if match is None or match[2] not in _POWER:
        raise InvalidArgument(f"cannot use block IO classes: {value[:40]!r} is no number such as 50M")
    return int(match[1]) * _POWER[match[2]]


def _block_devices(patterns: tuple[str, ...]) -> list[tuple[int, int]]:
    found: dict[tuple[int, int], None] = {}
    for pattern in patterns:
        for path in sorted(glob.glob(pattern))[:_MAX_DEVICES]:
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISBLK(status.st_mode):
                found[os.major(status.st_rdev), os.minor(status.st_rdev)] = None
    return list(found)
