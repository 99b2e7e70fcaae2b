from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from crio.cli.demo import scratch
from crio.cli.demo.host import Host
from crio.cli.demo.scratch import Scratch

HOST = Host("/bin/busybox", ("/opt/cni/bin", "/usr/lib/cni"), "runc", "/usr/sbin/runc", "1.1", "v2")


@pytest.fixture
def place(tmp_path: Path) -> Scratch:
    return Scratch.make(str(tmp_path))


def test_everything_carries_one_word(place: Scratch) -> None:
    assert all(place.word in each for each in (place.directory, place.bridge, place.network, place.cgroup_parent))
    assert len(place.bridge) <= 15
    assert Scratch.make(os.path.dirname(place.directory)).word != place.word


def test_configuration(place: Scratch, tmp_path: Path) -> None:
    place.write(HOST)
    with open(place.path("crio.conf"), "rb") as file:
        crio = tomllib.load(file)["crio"]
    assert crio["runtime"]["default_runtime"] == "runc"
    assert crio["runtime"]["runtimes"]["runc"]["runtime_path"] == "/usr/sbin/runc"
    assert crio["network"]["plugin_dirs"] == ["/opt/cni/bin", "/usr/lib/cni"]
    paths = [crio["root"], crio["runroot"], crio["log_dir"], crio["version_file"], crio["clean_shutdown_file"]]
    paths += [crio["api"]["listen"], crio["runtime"]["namespaces_dir"], crio["runtime"]["container_exits_dir"]]
    paths += [crio["runtime"]["container_attach_socket_dir"], crio["network"]["network_dir"]]
    assert all(path.startswith(str(tmp_path)) for path in paths)
    with open(place.path("cni", "10-demo.conflist"), encoding="utf-8") as file:
        (bridge,) = json.load(file)["plugins"]
    assert (bridge["type"], bridge["bridge"]) == ("bridge", place.bridge)
    assert bridge["ipam"]["dataDir"].startswith(str(tmp_path))


def test_the_daemon_knows_every_key(place: Scratch) -> None:
    from crio.config import load

    place.write(HOST)
    loaded = load({}, {}, place.path("crio.conf"), place.path("crio.conf.d"))
    assert loaded.config.api.listen == place.socket


@pytest.mark.root
def test_the_subnet_has_no_route(tmp_path: Path) -> None:
    name = f"crd{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", name, "type", "veth"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "10.210.0.1/17", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        taken = ipaddress.IPv4Network("10.210.0.0/17")
        assert not any(Scratch.make(str(tmp_path)).subnet.overlaps(taken) for _ in range(40))
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.mark.root
def test_network_and_cgroups_are_removed(place: Scratch) -> None:
    subprocess.run(["ip", "link", "add", place.bridge, "type", "bridge"], check=True)
    root = next(
        path
        for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
        if os.path.exists(f"{path}/cgroup.procs")
    )
    os.makedirs(f"{root}{place.cgroup_parent}/inner")
    place.remove_network()
    place.remove_cgroups()
    assert not os.path.exists(f"/sys/class/net/{place.bridge}")
    assert not os.path.exists(root + place.cgroup_parent)


def test_remove(place: Scratch) -> None:
    place.write(HOST)
    place.remove_base_mounts()
    place.remove()
    assert not os.path.exists(place.directory)


def test_forwarding_is_left_as_it_is() -> None:
    value = scratch.forwarding()
    scratch.set_forwarding(value)
    assert scratch.forwarding() == value
