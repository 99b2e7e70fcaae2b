from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import PLUGIN_DIRECTORY
from crio.network.builtin import host_local
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import Dns


class Ipam:
    """One network's address plug-in, both ways."""

    def __init__(self, directory: Path, **ipam: Any) -> None:
        self.directory = directory / "net"
        self.document = {
            "cniVersion": "1.0.0",
            "name": "net",
            "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": str(directory), **ipam},
        }

    def _request(self, pod: str) -> PluginRequest:
        return PluginRequest("ADD", "bridge", self.document, pod, "/none", "eth0")

    def add(self, pod: str) -> list[str]:
        return [ip.address for ip in host_local.allocate(self._request(pod), 5).ips]

    def release(self, pod: str) -> None:
        host_local.release(self._request(pod), 5)

    def program(self, verb: str, pod: str) -> dict[str, Any]:
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": pod, "CNI_NETNS": "/none", "CNI_IFNAME": "eth0"}
        done = subprocess.run(
            [f"{PLUGIN_DIRECTORY}/host-local"],
            env=environment | {"CNI_PATH": PLUGIN_DIRECTORY},
            input=json.dumps(self.document).encode(),
            capture_output=True,
            check=True,
        )
        result: dict[str, Any] = json.loads(done.stdout or b"{}")
        return result

    def leases(self) -> dict[str, str]:
        names = [name for name in os.listdir(self.directory) if name != "lock"]
        return {name: (self.directory / name).read_bytes().decode() for name in sorted(names)}


TWO = {"ranges": [[{"subnet": "10.1.2.0/29"}], [{"subnet": "fd00::/64"}]]}


def test_leases_are_the_programs_files(tmp_path: Path) -> None:
    ours, theirs = Ipam(tmp_path / "ours", **TWO), Ipam(tmp_path / "theirs", **TWO)
    assert ours.add("pod") == ["10.1.2.2/29", "fd00::2/64"]
    assert [ip["address"] for ip in theirs.program("ADD", "pod")["ips"]] == ["10.1.2.2/29", "fd00::2/64"]
    assert ours.leases() == theirs.leases()
    assert ours.leases()["10.1.2.2"] == "pod\r\neth0"
    assert (ours.directory / "10.1.2.2").stat().st_mode & 0o777 == 0o600


def test_both_take_turns_on_one_directory(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/29")
    taken = [ipam.add("a")[0], ipam.program("ADD", "b")["ips"][0]["address"], ipam.add("c")[0]]
    assert taken == ["10.1.2.2/29", "10.1.2.3/29", "10.1.2.4/29"]
    ipam.program("DEL", "a")
    ipam.release("b")
    # What was released last comes last.
    assert ipam.add("d") == ["10.1.2.5/29"]
    assert ipam.program("ADD", "e")["ips"][0]["address"] == "10.1.2.6/29"
    assert ipam.add("f") == ["10.1.2.2/29"]


def test_when_all_are_taken_it_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, ranges=[[{"subnet": "fd00::/64"}], [{"subnet": "10.1.2.0/30"}]])
    assert ipam.add("a") == ["fd00::2/64", "10.1.2.2/30"]
    before = ipam.leases()
    with pytest.raises(PluginFailed, match=r"no address is free in 10\.1\.2\.1-10\.1\.2\.2"):
        ipam.add("b")
    assert {name for name in ipam.leases() if "last" not in name} == {name for name in before if "last" not in name}


def test_one_pod_gets_no_second_address(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    ipam.add("a")
    with pytest.raises(PluginFailed, match="twice"):
        ipam.add("a")
    ipam.release("a")
    ipam.release("a")
    assert ipam.add("a") == ["10.1.2.3/24"]


def test_ranges_gateways_and_several_ranges_of_a_set(tmp_path: Path) -> None:
    ranges = [
        {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.10", "gateway": "10.1.2.254"},
        {"subnet": "10.1.3.0/24", "rangeStart": "10.1.3.1", "rangeEnd": "10.1.3.2"},
    ]
    ipam = Ipam(tmp_path, ranges=[ranges])
    assert [ipam.add(pod)[0] for pod in "abc"] == ["10.1.2.9/24", "10.1.2.10/24", "10.1.3.2/24"]
    ipam.release("a")
    assert ipam.add("d") == ["10.1.2.9/24"]


def test_ranges_of_the_request_come_first(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    ipam.document["runtimeConfig"] = {"ipRanges": [[{"subnet": "10.9.0.0/24"}]]}
    assert ipam.add("a") == ["10.9.0.2/24", "10.1.2.2/24"]


def test_name_servers_of_a_file(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("# x\nnameserver 1.1.1.1\nsearch a b\ndomain c\noptions ndots:2\nnameserver\n")
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24", resolvConf=str(resolv), routes=[{"dst": "0.0.0.0/0"}])
    request = PluginRequest("ADD", "bridge", ipam.document, "a", "", "eth0")
    result = host_local.allocate(request, 5)
    assert result.dns == Dns(["1.1.1.1"], "c", ["a", "b"], ["ndots:2"])
    assert [route.dst for route in result.routes] == ["0.0.0.0/0"]


@pytest.mark.parametrize(
    "ipam",
    [
        {},
        {"subnet": "10.1.2.0/31"},
        {"subnet": "10.1.2.1/24"},
        {"subnet": "none"},
        {"ranges": [[]]},
        {"ranges": [[{}]]},
        {"ranges": [[{"subnet": "10.1.2.0/24"}, {"subnet": "fd00::/64"}]]},
        {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.2.0/25"}]]},
        {"subnet": "10.1.2.0/24", "rangeStart": "10.1.3.1"},
        {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.3"},
        {"subnet": "10.1.2.0/24", "routes": [{"dst": "everywhere"}]},
    ],
)
def test_wrong_ranges_are_refused(tmp_path: Path, ipam: dict[str, Any]) -> None:
    with pytest.raises(PluginFailed, match="range"):
        Ipam(tmp_path, **ipam).add("a")
    assert os.listdir(tmp_path) == []


def test_a_lock_that_is_held_ends_in_an_error(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    ipam.add("a")
    with (ipam.directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PluginFailed, match=r"lock is held by another program for 0\.1 s"):
            host_local.allocate(PluginRequest("ADD", "bridge", ipam.document, "b", "", "eth0"), 0.1)


def test_leases_of_the_dead_are_collected(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    for pod in "abc":
        ipam.add(pod)
    (ipam.directory / "10.1.2.51").write_text("")
    (ipam.directory / "10.1.2.52").write_text("b")
    request = PluginRequest("GC", "bridge", ipam.document)
    host_local.collect_garbage(request, frozenset({("b", "eth0")}), 5)
    assert set(ipam.leases()) == {"10.1.2.3", "10.1.2.52", "last_reserved_ip.0"}


def test_what_is_no_lease_is_left_alone(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    ipam.add("a")
    foreign = {"notes": "", "10.1.2.77": "x" * 100_000}
    for name, text in foreign.items():
        (ipam.directory / name).write_text(text)
    host_local.collect_garbage(PluginRequest("GC", "bridge", ipam.document), frozenset(), 5)
    assert set(ipam.leases()) == {"last_reserved_ip.0", *foreign}
    ipam.add("b")


def test_check_finds_the_lease(tmp_path: Path) -> None:
    ipam = Ipam(tmp_path, subnet="10.1.2.0/24")
    ipam.add("a")
    host_local.check(PluginRequest("CHECK", "bridge", ipam.document, "a", "", "eth0"), 5)
    with pytest.raises(PluginFailed, match="b has no address"):
        host_local.check(PluginRequest("CHECK", "bridge", ipam.document, "b", "", "eth0"), 5)


@pytest.mark.parametrize(
    ("ipam", "known"),
    [
        (TWO, True),
        ({"subnet": "10.0.0.0/8", "routes": None}, True),
        ({"subnet": "10.0.0.0/8", "new": 1}, False),
        ({"ranges": [[{"subnet": "10.0.0.0/8", "new": 1}]]}, False),
        ({"ranges": {"subnet": "10.0.0.0/8"}}, False),
        ({"routes": [{"dst": "0.0.0.0/0", "mtu": 1}]}, False),
    ],
)
def test_what_only_the_program_does_is_left_to_it(ipam: dict[str, Any], known: bool) -> None:
    assert host_local.knows({"type": "host-local", **ipam}) is known
