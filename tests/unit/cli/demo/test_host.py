from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.cli.demo import host


@pytest.mark.root
def test_this_machine(tmp_path: Path) -> None:
    found = host.inspect(str(tmp_path))
    assert found.runtime in host.RUNTIMES
    assert found.runtime_path == shutil.which(found.runtime)
    assert found.runtime_version[0].isdigit()
    assert found.cgroups in ("v1", "v2", "v1 and v2")
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_a_trial_leaves_no_cgroup(tmp_path: Path) -> None:
    busybox = next(path for path in host.BUSYBOXES if os.path.exists(path))
    runc = shutil.which("runc")
    assert runc is not None
    assert host.try_runtime(runc, str(tmp_path), busybox) == ""
    found = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", f"crio-demo-trial-{os.getpid()}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,  # groups of others may go while it looks
    )
    assert found.stdout == b""


@pytest.mark.root
def test_a_runtime_that_does_not_work_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "crun"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho cgroups in hybrid mode not supported >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    found = host.inspect(str(tmp_path))
    assert found.runtime == "runc"
    assert found.note == "crun does not work here: cgroups in hybrid mode not supported"
    with pytest.raises(FailedPrecondition, match="crun does not work here"):
        host.inspect(str(tmp_path), "crun")


@pytest.mark.root
def test_missing_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailedPrecondition, match="frobnicate is not installed"):
        host.inspect(str(tmp_path), "frobnicate")
    monkeypatch.setattr(host, "PLUGIN_DIRECTORIES", (str(tmp_path),))
    with pytest.raises(FailedPrecondition, match="no CNI plug-in bridge and host-local"):
        host.inspect(str(tmp_path))
    monkeypatch.setattr(host, "BUSYBOXES", ("/bin/ls",))
    with pytest.raises(FailedPrecondition, match="apt install busybox-static"):
        host.inspect(str(tmp_path))


def test_only_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FailedPrecondition, match="needs root"):
        host.inspect(str(tmp_path))
