"""The Container Device Interface's files: what a vendor's device adds to a container (CDI 1.1). Pure."""

from __future__ import annotations

import posixpath

import msgspec
from msgspec import Struct, field

from crio.base.errors import InvalidArgument
from crio.base.regex import regex

VERSIONS = frozenset({"0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"})
HOOK_NAMES = frozenset({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"})

_KIND = regex(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE = regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_ACCESS = regex(r"[rwm]{0,3}")


class DeviceNode(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    path: str = field(name="path")
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class NetDevice(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    host_interface_name: str = field(name="hostInterfaceName")
    name: str = field(name="name")


class Mount(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    host_path: str = field(name="hostPath")
    container_path: str = field(name="containerPath")
    options: tuple[str, ...] = ()
    type: str = ""


class Hook(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    hook_name: str = field(name="hookName")
    path: str = field(name="path")
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class IntelRdt(Struct, frozen=True, forbid_unknown_fields=True):
    clos_id: str = field(default="", name="closID")
    l3_cache_schema: str = field(default="", name="l3CacheSchema")
    mem_bw_schema: str = field(default="", name="memBwSchema")
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = field(default=False, name="enableMonitoring")


class ContainerEdits(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What is added to a container that gets a device."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[int, ...] = ()


class Device(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str = field(name="name")
    container_edits: ContainerEdits = field(name="containerEdits")
    annotations: dict[str, str] = {}


class CdiSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One file: devices of one `kind` ("vendor.com/class"), and edits that come with any of them."""

    cdi_version: str = field(name="cdiVersion")
    kind: str = field(name="kind")
    devices: tuple[Device, ...] = field(name="devices")
    container_edits: ContainerEdits = ContainerEdits()
    annotations: dict[str, str] = {}


class DeviceName(msgspec.Struct, frozen=True):
    """A qualified name, `vendor.com/class=name`, taken apart."""

    kind: str
    name: str


def parse_name(text: str) -> DeviceName:
    """Raises InvalidArgument unless the text is a qualified name."""
    kind, _, name = text.partition("=")
    if len(text) > 512 or not _KIND.fullmatch(kind) or not _DEVICE.fullmatch(name):
        raise InvalidArgument(f"cannot use CDI device {text[:200]!r}: it is not of the form vendor.com/class=name")
    return DeviceName(kind, name)


def convert(value: object) -> CdiSpec:
    """A checked file from what a JSON or YAML parser gave. Raises InvalidArgument with what is wrong."""
    try:
        spec = msgspec.convert(value, CdiSpec)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"cannot use CDI file: {error}") from None
    _check(spec)
    return spec


def _check(spec: CdiSpec) -> None:
    if spec.cdi_version.removeprefix("v") not in VERSIONS:
        raise InvalidArgument(f"cannot use CDI file: version {spec.cdi_version[:40]!r} is not known")
    if not _KIND.fullmatch(spec.kind):
        raise InvalidArgument(f"cannot use CDI file: kind {spec.kind[:200]!r} is not of the form vendor.com/class")
    if not spec.devices:
        raise InvalidArgument("cannot use CDI file: it has no devices")
    _check_edits(spec.container_edits)
    names = set()
    for device in spec.devices:
        if not _DEVICE.fullmatch(device.name) or device.name in names:
            raise InvalidArgument(f"cannot use CDI file: device name {device.name[:200]!r} is malformed or there twice")
        if device.container_edits == ContainerEdits():
            raise InvalidArgument(f"cannot use CDI file: device {device.name} changes nothing")
        names.add(device.name)
        _check_edits(device.container_edits)


def _check_edits(edits: ContainerEdits) -> None:
    for variable in edits.env:
        if variable.find("=") < 1:
            raise InvalidArgument(f"cannot use CDI file: {variable[:100]!r} is no environment variable")
    for node in edits.device_nodes:
        if not posixpath.isabs(node.path) or node.type not in ("", "b", "c", "u", "p"):
            raise InvalidArgument(f"cannot use CDI file: device node {node.path[:200]!r} is malformed")
        if not _ACCESS.fullmatch(node.permissions):
            raise InvalidArgument(f"cannot use CDI file: permissions {node.permissions[:40]!r} are not of r, w, m")
    for mount in edits.mounts:
        if not mount.host_path or not posixpath.isabs(mount.container_path):
            raise InvalidArgument("cannot use CDI file: a mount lacks its host path or container path")
    for hook in edits.hooks:
        if hook.hook_name not in HOOK_NAMES or not posixpath.isabs(hook.path):
            raise InvalidArgument(f"cannot use CDI file: hook {hook.hook_name[:40]!r} is malformed")
    for device in edits.net_devices:
        if not device.host_interface_name or not device.name:
            raise InvalidArgument("cannot use CDI file: a network device lacks a name")
    if edits.intel_rdt is not None:
        clos = edits.intel_rdt.clos_id
        if clos != "/" and (clos in (".", "..") or "/" in clos or "\n" in clos or len(clos) >= 4096):
            raise InvalidArgument("cannot use CDI file: the RDT class is no file name")
