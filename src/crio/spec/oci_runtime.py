"""The OCI runtime specification's config.json as typed values (version 1.2, Linux part).

Field names follow the specification through a rename to camel case; what equals its default is left out when encoding.
Unknown fields are dropped when decoding: this project reads only files that it wrote. The values are mutable, because
hooks, CDI and NRI edit a finished specification. Pure; used by container/specgen, inject, runtime and conmon's client.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

VERSION = "1.0.2"
"""The oldest version that has every field which is always written; older runtimes refuse a newer number."""

NONE = Raw(b"null")
"""Default of fields that hold ready-made JSON; such a field is left out."""


class User(Struct, omit_defaults=True, rename="camel"):
    # Runtimes want uid and gid even if they are 0, hence no defaults.
    uid: int
    gid: int
    umask: int | None = None
    additional_gids: list[int] = []


class Capabilities(Struct, omit_defaults=True):
    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Rlimit(Struct):
    """`type` is a name such as RLIMIT_NOFILE."""

    type: str
    hard: int
    soft: int


class Box(Struct):
    height: int
    width: int


class IoPriority(Struct, omit_defaults=True, rename={"class_": "class"}):
    class_: str
    priority: int = 0


class Process(Struct, omit_defaults=True, rename="camel", kw_only=True):
    terminal: bool = False
    console_size: Box | None = None
    user: User
    args: list[str]
    env: list[str] = []
    cwd: str
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    selinux_label: str = ""
    io_priority: IoPriority | None = None


class Root(Struct, omit_defaults=True):
    path: str
    readonly: bool = False


class IdMapping(Struct):
    container_id: int = field(name="containerID")
    host_id: int = field(name="hostID")
    size: int


class Mount(Struct, omit_defaults=True, rename="camel"):
    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []


class Hook(Struct, omit_defaults=True):
    """`timeout` is in seconds."""

    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Hooks(Struct, omit_defaults=True, rename="camel"):
    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


class Namespace(Struct, omit_defaults=True):
    """An empty `path` means a new namespace."""

    type: str
    path: str = ""


class Device(Struct, omit_defaults=True, rename="camel", kw_only=True):
    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(Struct, omit_defaults=True):
    """One line of the devices cgroup: no `type`, `major` or `minor` means all."""

    allow: bool = field(name="allow")
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(Struct, omit_defaults=True, rename="camel"):
    """Bytes."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")


class Cpu(Struct, omit_defaults=True, rename="camel"):
    """`quota` and `period` in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Struct):
    limit: int


class HugepageLimit(Struct, rename="camel"):
    """`page_size` as the kernel names it ("2MB"), `limit` in bytes."""

    page_size: str
    limit: int


class WeightDevice(Struct, omit_defaults=True, rename="camel", kw_only=True):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Struct, kw_only=True):
    """`rate` in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIo(Struct, omit_defaults=True, rename="camel"):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = field(default_factory=list, name="throttleReadIOPSDevice")
    throttle_write_iops_device: list[ThrottleDevice] = field(default_factory=list, name="throttleWriteIOPSDevice")


class Resources(Struct, omit_defaults=True, rename="camel"):
    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = field(default=None, name="blockIO")
    hugepage_limits: list[HugepageLimit] = []
    unified: dict[str, str] = {}


class SeccompArg(Struct, omit_defaults=True, rename="camel"):
    index: int = field(name="index")
    value: int = field(name="value")
    op: str = field(name="op")
    value_two: int = 0


class SeccompSyscall(Struct, omit_defaults=True, rename="camel"):
    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SeccompArg] = []


class Seccomp(Struct, omit_defaults=True, rename="camel", kw_only=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = []
    flags: list[str] = []
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SeccompSyscall] = []


class IntelRdt(Struct, omit_defaults=True, rename="camel"):
    clos_id: str = field(default="", name="closID")
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    schemata: list[str] = []
    enable_monitoring: bool = False


class NetDevice(Struct, omit_defaults=True):
    name: str = ""


class Linux(Struct, omit_defaults=True, rename="camel"):
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []
    sysctl: dict[str, str] = {}
    resources: Resources = field(default_factory=Resources)
    cgroups_path: str = ""
    namespaces: list[Namespace] = []
    devices: list[Device] = []
    net_devices: dict[str, NetDevice] = {}
    seccomp: Raw = NONE
    """A `Seccomp` in its encoded form: a profile has some 400 names and is the same for many containers."""
    rootfs_propagation: str = ""
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None


class Spec(Struct, omit_defaults=True, rename="camel", kw_only=True):
    oci_version: str = field(default_factory=lambda: VERSION)
    process: Process
    root: Root
    hostname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux = field(default_factory=Linux)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Spec)


def encode(value: Spec | Process | Resources) -> bytes:
    """The JSON of config.json, or of the part that `runtime exec --process` and `runtime update --resources` read."""
    return _encoder.encode(value)


def decode(data: bytes) -> Spec:
    """A config.json that this project wrote. Raises what `crio.base.jsontext.UNREADABLE` names."""
    return _decoder.decode(data)


def encode_raw(value: Any) -> Raw:
    """`value` in its encoded form, for a field of type Raw."""
    return Raw(_encoder.encode(value))
