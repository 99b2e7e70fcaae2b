"""What the zygote is told, field by field."""

from __future__ import annotations

import msgspec
import pytest

from crio.base.errors import InvalidArgument
from crio.conmon.launch import CONSOLE_PLACEHOLDER, environment
from crio.conmon.packets import decode
from crio.conmon.spec import ExecSpec, MonitorSpec

_SPEC = MonitorSpec(id="id", name="name", bundle="/b", runtime_path="/usr/bin/crun")


def test_command_line() -> None:
    assert _SPEC.argv() == ["/usr/bin/crun", "create", "--bundle", "/b", "--pid-file", "/b/pid", "id"]
    full = msgspec.structs.replace(
        _SPEC, runtime_root="/r", runtime_args=["--systemd-cgroup"], create_args=["--no-pivot"], terminal=True
    )
    head = ["/usr/bin/crun", "--root", "/r", "--systemd-cgroup", "create", "--bundle", "/b", "--pid-file", "/b/pid"]
    assert full.argv() == [*head, "--console-socket", CONSOLE_PLACEHOLDER, "--no-pivot", "id"]


def test_every_field_is_told() -> None:
    spec = msgspec.structs.replace(
        _SPEC,
        env={"A": "1", "B": "x=y"},
        log_path="/log",
        stdin=True,
        stdin_once=True,
        exit_dir="/e",
        cgroup_paths=["/g1", "/g2"],
        container_cgroup="/m",
        log_size_max=9000,
        no_sync_log=True,
        log_to_journald=True,
        log_tag="t",
        log_labels={"K": "v"},
        journal="/j",
        timeout=1.5,
    )
    packet = decode(spec.packet(hold=True))
    assert packet.verb == "monitor"
    assert environment(packet.many("env")) == {"A": "1", "B": "x=y"}
    assert [packet.text(name) for name in ("id", "name", "bundle", "log_path", "exit_dir", "container_cgroup")] == [
        "id",
        "name",
        "/b",
        "/log",
        "/e",
        "/m",
    ]
    assert all(packet.flag(name) for name in ("stdin", "stdin_once", "no_sync_log", "log_to_journald", "hold"))
    assert not packet.flag("terminal")
    assert packet.many("cgroup_paths") == ["/g1", "/g2"]
    assert (packet.number("log_size_max"), packet.number("timeout_ms")) == (9000, 1500)
    assert (packet.text("log_tag"), packet.many("log_labels"), packet.text("journal")) == ("t", ["K=v"], "/j")


def test_exec() -> None:
    packet = decode(ExecSpec(argv=["r", "x"], pid_file="/p", directory="/d", terminal=True, timeout=2).packet())
    assert (packet.verb, packet.many("argv"), packet.text("pid_file")) == ("exec", ["r", "x"], "/p")
    assert (packet.text("directory"), packet.flag("terminal"), packet.number("timeout_ms")) == ("/d", True, 2000)


def test_nul_bytes_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        msgspec.structs.replace(_SPEC, name="a\0terminal=1").packet()
