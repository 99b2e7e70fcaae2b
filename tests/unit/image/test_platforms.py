from __future__ import annotations

from crio.image.platforms import HostPlatform, choose, host_platform
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor, Platform

V3 = frozenset("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 abm avx avx2 bmi1 bmi2 f16c fma movbe xsave".split())


def entry(number: int, text: str = "", media_type: str = oci_image.MANIFEST) -> Descriptor:
    platform = None
    if text:
        os, architecture, *variant = text.split("/")
        platform = Platform(architecture, os, variant[0] if variant else None)
    return Descriptor(media_type=media_type, digest=f"sha256:{number:064x}", size=1, platform=platform)


def chosen(host: HostPlatform, *entries: Descriptor) -> int | None:
    found = choose(entries, host)
    return int(found.digest[-4:], 16) if found else None


def test_machines() -> None:
    assert host_platform("x86_64", V3).variants == ("v3", "v2", "v1", "")
    assert host_platform("x86_64", frozenset()).variants == ("v1", "")
    assert host_platform("aarch64") == HostPlatform("linux", "arm64", ("v8", ""))
    assert host_platform("armv7l").variants == ("v7", "v6", "v5", "")
    assert host_platform("riscv64").architecture == "riscv64"
    assert host_platform().os == "linux"


def test_best_variant_wins() -> None:
    host = host_platform("x86_64", V3)
    assert chosen(host, entry(1, "linux/amd64"), entry(2, "linux/amd64/v3"), entry(3, "linux/amd64/v4")) == 2
    assert chosen(host_platform("x86_64", frozenset()), entry(1, "linux/amd64/v2"), entry(2, "linux/amd64")) == 2
    arm = host_platform("armv7l")
    assert chosen(arm, entry(1, "linux/arm/v5"), entry(2, "linux/arm/v6"), entry(3, "linux/arm64")) == 2
    assert chosen(host_platform("aarch64"), entry(1, "linux/arm/v7"), entry(2, "linux/arm64/v8")) == 2


def test_none_fits() -> None:
    host = host_platform("x86_64", V3)
    assert chosen(host, entry(1, "windows/amd64"), entry(2, "linux/s390x"), entry(3, "unknown/unknown")) is None
    assert chosen(host) is None


def test_unnamed_platform_is_the_last_resort() -> None:
    host = host_platform("x86_64", V3)
    assert chosen(host, entry(1), entry(2, "linux/amd64")) == 2
    assert chosen(host, entry(1, "linux/s390x"), entry(2), entry(3)) == 2


def test_only_manifests_and_indexes_lead_on() -> None:
    host = host_platform("x86_64", V3)
    assert chosen(host, entry(1, "linux/amd64", "application/x-other"), entry(2, media_type=oci_image.INDEX)) == 2
    assert chosen(host, entry(1, "linux/amd64", docker_image.MANIFEST)) == 1
