from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import KINDS, Pod, bridge_name, chained, pod, run, subnets
from crio.linux import nft
from crio.network.builtin import bridge, masquerade
from crio.network.plugin import PluginFailed

pytestmark = pytest.mark.root


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Pod]:
    with pod(str(tmp_path)) as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, Any]]:
    four, six = subnets()
    with bridge_name() as name:
        yield {
            "cniVersion": "1.0.0",
            "name": f"net-{name}",
            "type": "bridge",
            "bridge": name,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(tmp_path / "leases"),
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                "ranges": [[{"subnet": four}], [{"subnet": six}]],
            },
        }


def _leases(config: dict[str, Any]) -> list[str]:
    directory = Path(config["ipam"]["dataDir"], config["name"])
    if not directory.is_dir():
        return []
    return sorted(name for name in os.listdir(directory) if name != "lock" and not name.startswith("last_"))


def _masqueraded(made: Pod) -> bool:
    with nft.connect() as netlink:
        if nft.rules(netlink, masquerade.TABLE, masquerade.CHAIN, containing=made.id[:40].encode()):
            return True
    listing = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=False).stdout
    return made.id[:40] in listing


def _gateways(config: dict[str, Any]) -> list[str]:
    return [entries[0]["subnet"].partition("/")[0] + "1" for entries in config["ipam"]["ranges"]]


def _ip(*argv: str) -> Any:
    return json.loads(run("ip", "-j", *argv) or "[]")


@pytest.mark.parametrize("kind", KINDS)
async def test_add_attaches_and_delete_leaves_nothing(kind: str, first: Pod, config: dict[str, Any]) -> None:
    result = await first.add(kind, config)
    names = [interface["name"] for interface in result["interfaces"]]
    assert [names[0], names[2]] == [config["bridge"], "eth0"]
    assert result["interfaces"][2]["sandbox"] == first.netns
    assert [ip["interface"] for ip in result["ips"]] == [2, 2]
    gateways = [ip["gateway"] for ip in result["ips"]]
    assert gateways == [gateway.replace(".01", ".1") for gateway in _gateways(config)]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]
    for gateway in gateways:
        first.reach(gateway)
    eth0 = json.loads(first.run("ip", "-j", "-d", "address", "show", "eth0"))[0]
    assert eth0["address"] == result["interfaces"][2]["mac"]
    held = {f"{item['local']}/{item['prefixlen']}" for item in eth0["addr_info"] if item["scope"] == "global"}
    assert held == {ip["address"] for ip in result["ips"]}
    port = _ip("-d", "link", "show", names[1])[0]
    assert port["master"] == config["bridge"]
    assert port["address"] == result["interfaces"][1]["mac"]
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert _ip("link", "show", config["bridge"])[0]["address"] == result["interfaces"][0]["mac"]
    for name in names[:2]:
        assert Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").read_text() == "0\n"
    assert _masqueraded(first)
    await first.check(kind, chained(config, result))

    await first.delete(kind, chained(config, result))
    await first.delete(kind, chained(config, result))
    assert not os.path.exists(f"/sys/class/net/{names[1]}")
    assert "eth0" not in first.run("ip", "link")
    assert _leases(config) == []
    assert not _masqueraded(first)


async def test_both_give_the_same_result(first: Pod, tmp_path: Path, config: dict[str, Any]) -> None:
    """But for what is random: the MAC addresses, the veth's name, and which address is next."""
    shapes = []
    for kind in KINDS:
        result = await first.add(kind, config)
        fields = [sorted(item) for key in ("interfaces", "ips") for item in result[key]]
        gateways = [ip["gateway"] for ip in result["ips"]]
        shapes.append((sorted(result), fields, gateways, result["routes"], result["dns"], result["cniVersion"]))
        await first.delete(kind, config)
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("made_by", KINDS)
async def test_each_undoes_what_the_other_made(made_by: str, first: Pod, config: dict[str, Any]) -> None:
    undone_by = next(kind for kind in KINDS if kind != made_by)
    config["ipMasq"] = False
    result = await first.add(made_by, config)
    await first.check(undone_by, chained(config, result))
    await first.delete(undone_by, chained(config, result))
    assert _leases(config) == []
    assert "eth0" not in first.run("ip", "link")


@pytest.mark.parametrize("kind", KINDS)
async def test_delete_without_a_namespace_releases_the_addresses(kind: str, first: Pod, config: dict[str, Any]) -> None:
    await first.add(kind, config)
    assert len(_leases(config)) == 2
    await first.delete(kind, config, netns=False)
    assert _leases(config) == []
    await first.delete(kind, config)


@pytest.mark.parametrize("kind", KINDS)
async def test_two_pods_reach_each_other(kind: str, first: Pod, tmp_path: Path, config: dict[str, Any]) -> None:
    with pod(str(tmp_path)) as second:
        results = [await made.add(kind, config) for made in (first, second)]
        for ip in results[1]["ips"]:
            first.reach(ip["address"].partition("/")[0])
        for made in (first, second):
            await made.delete(kind, config)


@pytest.mark.parametrize("kind", KINDS)
async def test_default_gateway_and_mtu(kind: str, first: Pod, config: dict[str, Any]) -> None:
    config |= {"isDefaultGateway": True, "isGateway": False, "ipMasq": False, "hairpinMode": False, "mtu": 1400}
    config["ipam"]["routes"] = []
    result = await first.add(kind, config)
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]
    assert json.loads(first.run("ip", "-j", "link", "show", "eth0"))[0]["mtu"] == 1400
    assert _ip("link", "show", config["bridge"])[0]["mtu"] == 1400
    assert "default via" in first.run("ip", "route")
    await first.delete(kind, config)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bridge_with_another_address_is_refused(kind: str, first: Pod, config: dict[str, Any]) -> None:
    name = config["bridge"]
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "address", "add", "192.0.2.1/24", "dev", name)
    with pytest.raises(PluginFailed, match="address"):
        await first.add(kind, config)
    # The program leaves the pair, and its DEL would fail for want of the rules it did not make.
    await first.delete(kind, config | {"ipMasq": False})


async def test_a_bridge_with_another_address_is_changed_by_force(first: Pod, config: dict[str, Any]) -> None:
    name = config["bridge"]
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "address", "add", "192.0.2.1/24", "dev", name)
    await first.add("builtin", config | {"forceAddress": True})
    assert "192.0.2.1" not in run("ip", "address", "show", name)
    await first.delete("builtin", config)


@pytest.mark.parametrize("kind", KINDS)
async def test_check_notices_what_is_lost(kind: str, first: Pod, config: dict[str, Any]) -> None:
    config["ipMasq"] = False
    result = await first.add(kind, config)
    first.run("ip", "address", "del", result["ips"][0]["address"], "dev", "eth0")
    with pytest.raises(PluginFailed):
        await first.check(kind, chained(config, result))
    await first.delete(kind, config)


async def test_a_failed_add_leaves_nothing(first: Pod, config: dict[str, Any]) -> None:
    config["ipam"]["routes"] = [{"dst": "0.0.0.0/0", "gw": "198.51.100.1"}]
    with pytest.raises(PluginFailed, match=r"0\.0\.0\.0/0"):
        await first.add("builtin", config)
    assert _leases(config) == []
    assert "eth0" not in first.run("ip", "link")
    assert not _masqueraded(first)


async def test_something_else_in_the_bridges_place_is_named(first: Pod, config: dict[str, Any]) -> None:
    run("ip", "link", "add", config["bridge"], "type", "veth", "peer", "name", config["bridge"] + "p")
    with pytest.raises(PluginFailed, match="not a bridge"):
        await first.add("builtin", config)


async def test_garbage_of_pods_that_are_gone_is_released(first: Pod, tmp_path: Path, config: dict[str, Any]) -> None:
    with pod(str(tmp_path)) as second:
        for made in (first, second):
            await made.add("builtin", config)
        request = first.request("GC", "bridge", config)
        bridge.collect_garbage(request, frozenset({(second.id, "eth0")}), 5)
        assert len(_leases(config)) == 2
        assert [_masqueraded(first), _masqueraded(second)] == [False, True]
        for made in (first, second):
            await made.delete("builtin", config)


@pytest.mark.parametrize(
    "change",
    [
        {"vlan": 5},
        {"macspoofchk": True},
        {"ipMasqBackend": "iptables"},
        {"ipam": {"type": "dhcp"}},
        {"ipam": {"type": "host-local", "subnet": "10.0.0.0/8", "future": 1}},
        {"capabilities": {"mac": True}},
        {"mtu": "large"},
        {"bridge": "a-name-that-is-too-long"},
        {"somethingNew": False},
    ],
)
def test_what_only_the_program_does_is_left_to_it(change: dict[str, Any]) -> None:
    ipam = {"type": "host-local", "subnet": "10.0.0.0/8"}
    plain = {"type": "bridge", "bridge": "b", "isGateway": True, "ipMasq": True, "ipam": ipam}
    assert bridge.knows(plain)
    assert not bridge.knows(plain | change)
