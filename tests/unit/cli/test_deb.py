"""The package, built with a Python environment that needs no network; what dpkg makes of it is seen in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crio import __version__
from crio.cli import deb
from crio.cli.install import Layout

pytestmark = pytest.mark.root


def environment(layout: Layout, architecture: str, wheels: str) -> None:
    """In the place of the one that pip fills."""
    python = Path(layout.below(layout.environment), "bin", "python")
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(deb, "_make_environment", environment)
    monkeypatch.setattr(deb, "_COMPRESSION", "none")
    return deb.build(str(tmp_path / "dist"), str(tmp_path / "tree"))


def dpkg_deb(*arguments: str) -> str:
    return subprocess.run(["dpkg-deb", *arguments], capture_output=True, text=True, check=True).stdout


def test_what_dpkg_is_told(package: str, tmp_path: Path) -> None:
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    assert os.path.basename(package) == f"crio_{__version__}_{architecture}.deb"
    fields = dpkg_deb("--field", package)
    assert "Package: crio\n" in fields
    assert "Depends: python3 (>= 3.11), python3 (<< 3.14), crun" in fields
    dpkg_deb("--control", package, str(tmp_path / "control"))
    conffiles = (tmp_path / "control" / "conffiles").read_text().split()
    assert {"/etc/crio/crio.conf", "/etc/crio/crio.conf.d/10-crio.conf", "/etc/crictl.yaml"} <= set(conffiles)
    assert not [path for path in conffiles if "net.d" in path]
    for script in ("postinst", "prerm", "postrm"):
        path = tmp_path / "control" / script
        assert os.access(path, os.X_OK)
        subprocess.run(["sh", "-n", path], check=True)
        assert "@" not in path.read_text().replace("@-", "")
    sums = (tmp_path / "control" / "md5sums").read_text()
    dpkg_deb("--extract", package, str(tmp_path / "out"))
    checked = subprocess.run(["md5sum", "-c", "--quiet"], input=sums, text=True, cwd=tmp_path / "out", check=False)
    assert checked.returncode == 0


def test_where_files_are(package: str) -> None:
    listed = {line.split()[5].removeprefix(".") for line in dpkg_deb("--contents", package).splitlines()}
    wanted = (
        "/usr/bin/crio",
        "/usr/bin/crioctl",
        "/usr/lib/systemd/system/crio.service",
        "/usr/lib/systemd/system/crio-wipe.service",
        "/usr/lib/tmpfiles.d/crio.conf",
        "/usr/share/man/man8/crio.8",
        "/usr/share/man/man5/crio.conf.5",
        "/usr/share/bash-completion/completions/crio",
        "/usr/share/crio/10-crio-bridge.conflist",
        "/usr/share/doc/crio/copyright",
    )
    assert set(wanted) <= listed
    assert all(line.split()[1] == "root/root" for line in dpkg_deb("--contents", package).splitlines())


@pytest.mark.parametrize(("release", "text"), [("1.36.0", "1.36.0"), ("1.37.0rc1", "1.37.0~rc1")])
def test_releases_are_ordered_as_debian_does(release: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb, "__version__", release)
    assert deb.version() == text
