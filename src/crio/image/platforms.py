"""Which manifest of an index is for this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from crio.base.files import read_bounded
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor

_ARCHITECTURES = {
    "x86_64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armv5tel": "arm",
    "loongarch64": "loong64",
}
"""Kernel names of machines where the image specification's name (that of Go) differs."""

_ARM = {"armv8l": "v8", "armv7l": "v7", "armv6l": "v6", "armv5tel": "v5"}

# The x86-64 psABI's micro-architecture levels by the kernel's flag names; each needs those before it.
_AMD64_LEVELS = (
    ("v2", frozenset("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3".split())),
    ("v3", frozenset("abm avx avx2 bmi1 bmi2 f16c fma movbe xsave".split())),
    ("v4", frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())),
)
_MAX_CPUINFO = 8 << 20


class HostPlatform(msgspec.Struct, frozen=True):
    """What runs here: `variants` from the best to the plainest; "" stands for a manifest that names none."""

    os: str
    architecture: str
    variants: tuple[str, ...]

    def rank(self, platform: oci_image.Platform) -> int | None:
        """How well an image for `platform` runs here, 0 being best; None if it does not."""
        if platform.os != self.os or platform.architecture != self.architecture:
            return None
        try:
            return self.variants.index(platform.variant or "")
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


def host_platform(machine: str | None = None, cpu_flags: frozenset[str] | None = None) -> HostPlatform:
    """The platform of this machine, or of the `machine` with these flags of /proc/cpuinfo."""
    name = machine or os.uname().machine
    architecture = _ARCHITECTURES.get(name, name)
    if architecture == "amd64":
        flags = _cpu_flags() if cpu_flags is None else cpu_flags
        return HostPlatform("linux", architecture, (*reversed(_amd64_levels(flags)), "v1", ""))
    if architecture == "arm64":
        return HostPlatform("linux", architecture, ("v8", ""))
    if architecture == "arm":
        newest = _ARM.get(name, "v7")
        older = tuple(v for v in ("v8", "v7", "v6", "v5") if v <= newest)
        return HostPlatform("linux", architecture, (*older, ""))
    return HostPlatform("linux", architecture, ("",))


def choose(manifests: Iterable[Descriptor], host: HostPlatform) -> Descriptor | None:
    """The entry of an index to go on with: the best for `host`, else the first that names no platform, else None."""
    best: tuple[int, Descriptor] | None = None
    unnamed: Descriptor | None = None
    for entry in manifests:
        if not _leads_to_an_image(entry):
            continue
        if entry.platform is None or not (entry.platform.os or entry.platform.architecture):
            unnamed = unnamed or entry
            continue
        rank = host.rank(entry.platform)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, entry)
    return best[1] if best else unnamed


def _leads_to_an_image(entry: Descriptor) -> bool:
    return entry.media_type in (
        "",
        oci_image.MANIFEST,
        oci_image.INDEX,
        docker_image.MANIFEST,
        docker_image.MANIFEST_LIST,
        docker_image.MANIFEST_V1,
        docker_image.MANIFEST_V1_SIGNED,
    )


def _amd64_levels(flags: frozenset[str]) -> tuple[str, ...]:
    levels: list[str] = []
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        levels.append(name)
    return tuple(levels)


def _cpu_flags() -> frozenset[str]:
    for line in read_bounded("/proc/cpuinfo", _MAX_CPUINFO).splitlines():
        if line.startswith(b"flags"):
            return frozenset(line.partition(b":")[2].decode("ascii", "replace").split())
    return frozenset()
