"""The CDI files of this node, and the injection of their devices.

Directories are looked at again when a device is asked for, and only what changed is read: no watch is needed, and a
file that a driver has just written is seen.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.spec import oci_runtime as oci
from crio.spec.cdi import CdiSpec, ContainerEdits, DeviceNode, convert, parse_name

log = logging.getLogger(__name__)

ANNOTATION_PREFIX = "cdi.k8s.io/"
MAX_FILE = 8 << 20
MAX_FILES = 4096


class _File(msgspec.Struct, frozen=True):
    version: tuple[int, int, int]
    spec: CdiSpec | None
    error: str


class _Found(msgspec.Struct, frozen=True):
    priority: int
    path: str
    spec: CdiSpec
    edits: ContainerEdits


class CdiRegistry:
    """The devices that files in `directories` describe; a later directory wins. Not safe for several threads."""

    def __init__(self, directories: Sequence[str] = ("/etc/cdi", "/var/run/cdi")) -> None:
        self._directories = tuple(directories)
        self._files: dict[str, _File] = {}
        self._devices: dict[str, _Found] = {}
        self._conflicts: dict[str, tuple[str, str]] = {}

    def set_directories(self, directories: Sequence[str]) -> None:
        """Take over crio.runtime.cdi_spec_dirs."""
        self._directories = tuple(directories)

    def requested(self, names: Iterable[str], annotations: Mapping[str, str]) -> list[str]:
        """The devices of a request: those of its field, then those of cdi.k8s.io/ annotations; each once.

        Raises InvalidArgument for a name that is not qualified.
        """
        found = list(names)
        for key in sorted(annotations):
            if key.startswith(ANNOTATION_PREFIX):
                found += annotations[key].split(",")
        for name in found:
            parse_name(name)
        return list(dict.fromkeys(found))

    def inject(self, spec: oci.Spec, names: Sequence[str]) -> None:
        """Add devices to a specification. Raises InvalidArgument for one that no file describes, or two do."""
        self.refresh()
        unknown = [name for name in names if name not in self._devices]
        if unknown:
            raise InvalidArgument(f"cannot use CDI devices {', '.join(unknown)[:400]}: {self._why(unknown[0])}")
        found = [self._devices[name] for name in names]
        seen: set[str] = set()
        for device in found:
            if device.path not in seen:
                seen.add(device.path)
                apply_edits(spec, device.spec.container_edits)
            apply_edits(spec, device.edits)

    def errors(self) -> dict[str, str]:
        """What is wrong with a file, by its path."""
        return {path: file.error for path, file in self._files.items() if file.error}

    def refresh(self) -> None:
        """Read what changed in the directories. A bad file is logged once, and its devices are missing."""
        files: dict[str, _File] = {}
        changed = False
        for path, status in self._listing():
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._files.get(path)
            if known is None or known.version != version:
                known = _load(path, version)
                changed = True
            files[path] = known
        if changed or files.keys() != self._files.keys():
            self._files = files
            self._index()

    def _listing(self) -> list[tuple[str, os.stat_result]]:
        found: list[tuple[str, os.stat_result]] = []
        for directory in self._directories:
            try:
                names = sorted(os.listdir(directory))
            except OSError:
                continue
            for name in names:
                if not name.endswith((".json", ".yaml")) or len(found) >= MAX_FILES:
                    continue
                path = os.path.join(directory, name)
                try:
                    status = os.stat(path)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found.append((path, status))
        return found

    def _index(self) -> None:
        self._devices, self._conflicts = {}, {}
        for path, file in self._files.items():
            if file.spec is None:
                continue
            priority = (
                self._directories.index(os.path.dirname(path)) if os.path.dirname(path) in self._directories else 0
            )
            for device in file.spec.devices:
                name = f"{file.spec.kind}={device.name}"
                other = self._devices.get(name)
                if other is not None and other.priority == priority:
                    self._conflicts[name] = (other.path, path)
                if other is None or other.priority <= priority:
                    if other is not None and other.priority < priority:
                        self._conflicts.pop(name, None)
                    self._devices[name] = _Found(priority, path, file.spec, device.container_edits)
        for name in self._conflicts:
            del self._devices[name]

    def _why(self, name: str) -> str:
        if name in self._conflicts:
            return f"both {' and '.join(self._conflicts[name])} describe it"
        bad = self.errors()
        return f"no file in {', '.join(self._directories)} describes it" + (
            f" ({len(bad)} files are bad)" if bad else ""
        )


def _load(path: str, version: tuple[int, int, int]) -> _File:
    try:
        data = read_bounded(path, MAX_FILE)
        if path.endswith(".json"):
            value = msgspec.json.decode(data)
        else:
            import yaml  # lazy: most nodes have no YAML file here

            value = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _File(version, convert(value), "")
    except (CrioError, OSError, *UNREADABLE, ValueError) as error:
        text = str(error)
    except Exception as error:  # noqa: BLE001 - yaml raises a tree of its own
        text = f"{type(error).__name__}: {error}"
    log.warning("CDI file %s is not used: %s", path, " ".join(text.split())[:500])
    return _File(version, None, text)


def apply_edits(spec: oci.Spec, edits: ContainerEdits) -> None:
    """Add the edits to a specification. Raises InvalidArgument for a device node that is not there."""
    for variable in edits.env:
        _set_variable(spec.process.env, variable)
    for node in edits.device_nodes:
        _add_node(spec, node)
    for net_device in edits.net_devices:
        spec.linux.net_devices[net_device.host_interface_name] = oci.NetDevice(net_device.name)
    if edits.mounts:
        targets = {mount.container_path for mount in edits.mounts}
        kept = [mount for mount in spec.mounts if mount.destination not in targets]
        kept += [
            oci.Mount(mount.container_path, mount.type or "bind", mount.host_path, list(mount.options) or ["rbind"])
            for mount in edits.mounts
        ]
        spec.mounts = sorted(kept, key=lambda mount: mount.destination.rstrip("/").count("/"))
    for hook in edits.hooks:
        if spec.hooks is None:
            spec.hooks = oci.Hooks()
        stages = {
            "prestart": spec.hooks.prestart,
            "createRuntime": spec.hooks.create_runtime,
            "createContainer": spec.hooks.create_container,
            "startContainer": spec.hooks.start_container,
            "poststart": spec.hooks.poststart,
            "poststop": spec.hooks.poststop,
        }
        stages[hook.hook_name].append(oci.Hook(hook.path, list(hook.args), list(hook.env), hook.timeout))
    if edits.intel_rdt is not None:
        rdt = edits.intel_rdt
        spec.linux.intel_rdt = oci.IntelRdt(
            rdt.clos_id, rdt.l3_cache_schema, rdt.mem_bw_schema, list(rdt.schemata), rdt.enable_monitoring
        )
    for gid in edits.additional_gids:
        if gid > 0 and gid not in spec.process.user.additional_gids:
            spec.process.user.additional_gids.append(gid)


def _set_variable(env: list[str], variable: str) -> None:
    prefix = variable.partition("=")[0] + "="
    for index, existing in enumerate(env):
        if existing.startswith(prefix):
            env[index] = variable
            return
    env.append(variable)


def _add_node(spec: oci.Spec, node: DeviceNode) -> None:
    kind, major, minor = node.type, node.major, node.minor
    if not kind or (kind != "p" and not major and not minor):
        kind, major, minor = _look_up(node)
    user = spec.process.user
    spec.linux.devices = [device for device in spec.linux.devices if device.path != node.path]
    spec.linux.devices.append(
        oci.Device(
            type=kind,
            path=node.path,
            major=major,
            minor=minor,
            file_mode=node.file_mode,
            uid=node.uid if node.uid is not None else (user.uid or None),
            gid=node.gid if node.gid is not None else (user.gid or None),
        )
    )
    if kind in ("b", "c"):
        spec.linux.resources.devices.append(oci.DeviceRule(True, kind, major, minor, node.permissions or "rwm"))


def _look_up(node: DeviceNode) -> tuple[str, int, int]:
    path = node.host_path or node.path
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"cannot use CDI device node {path}: {error.strerror}") from None
    mode = status.st_mode
    kind = "b" if stat.S_ISBLK(mode) else "c" if stat.S_ISCHR(mode) else "p" if stat.S_ISFIFO(mode) else ""
    if not kind or (node.type and node.type != kind):
        raise InvalidArgument(f"cannot use CDI device node {path}: it is no device of the type that its file says")
    return kind, os.major(status.st_rdev), os.minor(status.st_rdev)
