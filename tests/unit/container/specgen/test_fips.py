from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.container.specgen.fips import fips_mounts, fips_off_mounts
from crio.container.specgen.plan import Notes, WriteFile

BACKENDS = "usr/share/crypto-policies/back-ends/FIPS"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    fd = os.open(tmp_path, os.O_PATH)
    yield tmp_path, fd
    os.close(fd)


def made(root: tuple[Path, int]) -> tuple[dict[str, str], Notes]:
    notes = Notes("/run/c")
    mounts = fips_mounts(root[1], str(root[0]), owner=(0, 0), notes=notes)
    return {mount.destination: mount.source for mount in mounts}, notes


def test_nothing_for_an_image_without_policies(root: tuple[Path, int]) -> None:
    assert made(root)[0] == {}


def test_policies(root: tuple[Path, int]) -> None:
    (root[0] / BACKENDS).mkdir(parents=True)
    (root[0] / "etc").mkdir()
    (root[0] / "etc/system-fips").symlink_to("/run/secrets/system-fips")
    mounts, notes = made(root)
    assert mounts == {
        "/run/secrets": "/run/c/fips-secrets",
        "/etc/crypto-policies/back-ends": f"{root[0]}/{BACKENDS}",
        "/etc/crypto-policies/config": "/run/c/fips-config",
    }
    assert WriteFile("/run/c/fips-config", b"FIPS\n", 0o644, 0, 0) in notes.effects
    (root[0] / "usr/share/crypto-policies/default-fips-config").write_text("FIPS\n")
    assert made(root)[0]["/etc/crypto-policies/config"].startswith(str(root[0]))


def test_links_out_of_the_image(root: tuple[Path, int]) -> None:
    """CVE-2024-9341: the image's policy directory is a link to the host's."""
    (root[0] / "usr/share/crypto-policies/back-ends").mkdir(parents=True)
    (root[0] / BACKENDS).symlink_to("/etc")
    assert made(root)[0] == {}


def test_off() -> None:
    notes = Notes("/run/c")
    mounts = fips_off_mounts(notes)
    assert mounts[0].destination == "/proc/sys/crypto/fips_enabled"
    assert notes.effects == [WriteFile("/run/c/sysctl-fips", b"0\n", 0o444)]
