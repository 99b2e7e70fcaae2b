"""Installation into a staging directory, with an environment that has the packages already: no network is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crio.base.errors import NotFound
from crio.cli.install import Layout, install, main, uninstall


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("/usr", str(tmp_path))
    python = tmp_path / "usr/lib/crio/bin/python"
    python.parent.mkdir(parents=True)
    # pip has nothing to do; everything else runs with this interpreter, without the isolation that would hide src/.
    python.write_text(f'#!/bin/sh\n[ "$1" = -I ] || exit 0\nshift\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return layout


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_everything_is_where_it_belongs_and_goes_again(layout: Layout, tmp_path: Path) -> None:
    before = tree(tmp_path)
    install(layout)
    launcher = tmp_path / "usr/bin/crio"
    assert launcher.read_text().startswith("#!/usr/lib/crio/bin/python -I\n")
    assert os.access(launcher, os.X_OK)
    unit = (tmp_path / "usr/lib/systemd/system/crio.service").read_text()
    assert "ExecStart=/usr/bin/crio $CRIO_CONFIG_OPTIONS" in unit
    assert "@" not in unit
    assert (tmp_path / "usr/share/man/man8/crio.8").read_text().startswith(".TH")
    assert "complete" in (tmp_path / "usr/share/bash-completion/completions/crioctl").read_text()
    configuration = {path for path in tree(tmp_path) if path.startswith("etc/")}
    assert {"etc/crio/crio.conf", "etc/crictl.yaml", "etc/cni/net.d/10-crio-bridge.conflist"} <= configuration
    uninstall(layout)
    assert tree(tmp_path) - before == configuration


def test_an_administrators_files_and_network_are_left_alone(layout: Layout, tmp_path: Path) -> None:
    own, network = tmp_path / "etc/crio/crio.conf", tmp_path / "etc/cni/net.d/05-cilium.conflist"
    for path in (own, network):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    install(layout)
    install(layout)
    assert own.read_text() == "mine"
    assert os.listdir(network.parent) == [network.name]


def test_nothing_to_uninstall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFound, match="nothing is installed below"):
        uninstall(Layout("/usr", str(tmp_path)))
    assert main(["--uninstall", "--destdir", str(tmp_path), "/opt/x"]) == 1
    assert capsys.readouterr().err == f"install: cannot uninstall: nothing is installed below {tmp_path}/opt/x\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_accepts_the_units(layout: Layout, tmp_path: Path) -> None:
    install(layout)
    units = tmp_path / "usr/lib/systemd/system"
    for unit in units.glob("crio*.service"):
        # The program's path is the one of the installed system, which is not this one.
        unit.write_text(unit.read_text().replace("/usr/bin/crio", "/bin/true").replace("man:", "file:/"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units.glob("crio*.service"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/usr/lib/systemd/system:"},
    )
    complaints = [line for line in done.stderr.splitlines() if str(units) in line or "crio" in line]
    assert complaints == []
