from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import AlreadyExists, InvalidArgument, NotFound
from crio.linux import mount, namespaces

pytestmark = pytest.mark.root


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    mount.unmount_below(str(tmp_path))


def _paths(directory: str, *kinds: str) -> dict[str, str]:
    return {kind: f"{directory}/{kind}ns/pod" for kind in kinds}


def _inside(paths: dict[str, str], *argv: str) -> str:
    flags = [f"--{kind}={path}" for kind, path in paths.items()]
    return subprocess.run(["nsenter", *flags, *argv], check=True, capture_output=True, text=True).stdout


def test_pin_makes_new_namespaces_with_their_settings(directory: str) -> None:
    paths = _paths(directory, "net", "ipc", "uts")
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1", "net/core/somaxconn": "99"}
    namespaces.pin(paths, hostname="pod-1", sysctls=sysctls)
    for kind, path in paths.items():
        assert namespaces.is_pinned(path)
        assert namespaces.inode(path) != namespaces.inode(f"/proc/self/ns/{kind}")
    assert _inside(paths, "hostname") == "pod-1\n"
    assert "LOWER_UP" in _inside(paths, "ip", "link", "show", "lo")
    assert _inside(paths, "sysctl", "-n", *(name.replace("/", ".") for name in sysctls)).split() == ["80", "1", "99"]
    assert os.uname().nodename != "pod-1"


def test_unpin_is_idempotent_and_leaves_nothing(directory: str) -> None:
    paths = _paths(directory, "net", "ipc")
    namespaces.pin(paths)
    for path in paths.values():
        namespaces.unpin(path)
        namespaces.unpin(path)
        assert not os.path.lexists(path)
    namespaces.unshare_directory(f"{directory}/netns")
    assert mount.mounts_below(directory) == []


def test_the_directory_of_network_namespaces_is_shared_so_that_unmounts_reach_every_copy(directory: str) -> None:
    paths = _paths(directory, "net")
    namespaces.pin(paths)
    subprocess.run(["mount", "--rbind", f"{directory}/netns", f"{directory}/netns"], check=True)
    namespaces.unpin(paths["net"])
    assert not os.path.lexists(paths["net"])


def test_a_directory_with_pins_stays_shared(directory: str) -> None:
    paths = _paths(directory, "net")
    namespaces.pin(paths)
    namespaces.unshare_directory(f"{directory}/netns")
    assert namespaces.is_pinned(paths["net"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "|/bin/evil"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
        ("net/../kernel/core_pattern", "core"),
        ("net..kernel.core_pattern", "core"),
        ("kernel.shmmax", "1\n2"),
        ("net.ipv4.ip_forward", "1"),
        ("kernel.hostname", "x"),
        ("vm.swappiness", "1"),
        ("", ""),
    ],
)
def test_sysctls_outside_the_new_namespaces_are_refused(directory: str, name: str, value: str) -> None:
    paths = _paths(directory, "ipc", "uts")
    with pytest.raises(InvalidArgument):
        namespaces.pin(paths, sysctls={name: value})
    assert os.listdir(directory) == []


def test_a_failure_inside_leaves_nothing(directory: str) -> None:
    paths = _paths(directory, "ipc", "net")
    with pytest.raises(InvalidArgument, match="kernel has none"):
        namespaces.pin(paths, sysctls={"net.no_such_parameter": "1"})
    with pytest.raises(InvalidArgument, match="cannot set sysctl"):
        namespaces.pin(paths, sysctls={"net.ipv4.ip_unprivileged_port_start": "many"})
    # A directory, and one that can only be read.
    for name in ("net.ipv4", "net.ipv4.tcp_available_congestion_control"):
        with pytest.raises(InvalidArgument, match=f"cannot set sysctl {name.replace('.', '/')} to '1'"):
            namespaces.pin(paths, sysctls={name: "1"})
    Path(paths["net"]).write_text("")
    with pytest.raises(AlreadyExists):
        namespaces.pin(paths)
    assert not os.path.exists(paths["ipc"])
    assert not namespaces.is_pinned(paths["net"])


def test_pin_refuses_what_a_thread_cannot_make(directory: str) -> None:
    with pytest.raises(InvalidArgument, match="'pid'"):
        namespaces.pin(_paths(directory, "pid"))
    with pytest.raises(InvalidArgument, match="host name"):
        namespaces.pin(_paths(directory, "net"), hostname="x")


def test_pin_process_takes_the_namespaces_of_a_process(directory: str) -> None:
    paths = _paths(directory, "user", "ipc")
    with subprocess.Popen(
        ["unshare", "--user", "--ipc", "--map-root-user", "sh", "-c", "echo; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        namespaces.pin_process(process.pid, paths)
        for kind, path in paths.items():
            assert namespaces.inode(path) == namespaces.inode(f"/proc/{process.pid}/ns/{kind}")
        process.communicate(b"")
    for path in paths.values():
        assert namespaces.is_pinned(path)
        namespaces.unpin(path)


def test_run_in_netns_runs_there_and_nowhere_else(directory: str) -> None:
    paths = _paths(directory, "net")
    namespaces.pin(paths)
    threads, here = threading.active_count(), namespaces.inode("/proc/thread-self/ns/net")
    assert namespaces.run_in_netns(paths["net"], lambda: namespaces.inode("/proc/thread-self/ns/net")) == (
        namespaces.inode(paths["net"])
    )
    with pytest.raises(ZeroDivisionError):
        namespaces.run_in_netns(paths["net"], lambda: 1 // 0)
    assert threading.active_count() <= threads
    assert namespaces.inode("/proc/thread-self/ns/net") == here


def test_run_in_netns_names_what_is_not_a_namespace(directory: str) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        namespaces.run_in_netns(f"{directory}/none", lambda: None)
    plain = Path(directory, "plain")
    plain.write_text("")
    with pytest.raises(NotFound, match="cannot enter"):
        namespaces.run_in_netns(str(plain), lambda: None)


@pytest.mark.root
def test_a_file_system_of_somebody_else_stays_mounted(tmp_path: Path) -> None:
    mount.mount("tmpfs", str(tmp_path), "tmpfs")
    try:
        namespaces.unshare_directory(str(tmp_path))
        assert mount.is_mount_point(str(tmp_path))
    finally:
        mount.umount(str(tmp_path))
