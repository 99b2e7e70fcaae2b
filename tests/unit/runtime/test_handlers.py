"""The handlers of crio.conf as runtimes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition, Unimplemented
from crio.config import default_config, load
from crio.config.model import Config
from crio.runtime.handlers import Runtimes


def config(tmp_path: Path, runtime: str) -> Config:
    path = tmp_path / "crio.conf"
    path.write_text(runtime)
    return load({}, {}, str(path), str(tmp_path / "conf.d")).config


TWO = f"""
[crio.runtime]
default_runtime = "fast"
cgroup_manager = "cgroupfs"
[crio.runtime.runtimes.fast]
runtime_path = "{shutil.which("crun")}"
runtime_root = "/run/fast"
monitor_cgroup = "pod"
[crio.runtime.runtimes.other]
runtime_path = "{shutil.which("runc")}"
runtime_root = "/run/other"
monitor_cgroup = "pod"
"""


def test_by_name_and_by_default(tmp_path: Path) -> None:
    runtimes = Runtimes(config(tmp_path, TWO).runtime)
    assert runtimes.get("") is runtimes.get("fast") is runtimes.default
    assert runtimes.get("other").root == "/run/other"
    assert {name for name, _ in runtimes.items()} >= {"fast", "other"}
    assert runtimes.get("fast").global_arguments == []


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"'gone'.*put it back"):
        Runtimes(config(tmp_path, TWO).runtime).get("gone")


def test_a_new_configuration_replaces_all_and_containers_keep_their_handler(tmp_path: Path) -> None:
    runtimes = Runtimes(config(tmp_path, TWO).runtime)
    former = runtimes.get("fast")
    runtimes.replace(default_config().runtime)
    assert "fast" not in dict(runtimes.items())
    assert runtimes.get("fast") is former
    with pytest.raises(FailedPrecondition):
        runtimes.get("never")
    assert runtimes.default_name == default_config().runtime.default_runtime


def test_a_default_of_another_kind_is_refused(tmp_path: Path) -> None:
    shim = tmp_path / "containerd-shim-kata-v2"
    shim.symlink_to("/bin/true")
    text = TWO.replace(str(shutil.which("crun")), f'{shim}"\nruntime_type = "vm')
    with pytest.raises(Unimplemented, match="'vm'"):
        Runtimes(config(tmp_path, text).runtime)


async def test_all_are_asked_for_their_features(tmp_path: Path) -> None:
    runtimes = Runtimes(config(tmp_path, TWO).runtime)
    await runtimes.probe()
    for runtime in runtimes.values():
        assert await runtime.features() is await runtime.features()


def test_a_platform_may_have_a_runtime_of_its_own(tmp_path: Path) -> None:
    paths = 'platform_runtime_paths = { "wasi/wasm32" = "/usr/bin/crun-wasm" }'
    text = TWO.replace('runtime_root = "/run/fast"', f'runtime_root = "/run/fast"\n{paths}')
    runtimes = Runtimes(config(tmp_path, text).runtime)
    found = runtimes.get("fast", "wasi/wasm32")
    assert (found.name, found.path, found.root) == ("fast", "/usr/bin/crun-wasm", "/run/fast")
    assert runtimes.get("fast", "linux/arm64") is runtimes.get("fast")
    assert runtimes.get("other", "wasi/wasm32") is runtimes.get("other")
    runtimes.replace(config(tmp_path, TWO).runtime)
    assert runtimes.get("fast", "wasi/wasm32") is found
