from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.cni_plugins import Pod, bridge_name, pod, run, subnets
from contract.pod_traffic import TIMEOUT, tcp_server
from crio.linux import nft
from crio.linux.namespaces import run_in_netns
from crio.network.builtin import masquerade

pytestmark = pytest.mark.root


class Site:
    """A pod on a bridge and a neighbour of the node that does not know the pod's subnet."""

    def __init__(self, pod: Pod, outside: Pod, addresses: list[str], near: list[str], far: list[str]) -> None:
        self.pod, self.outside, self.addresses, self.near, self.far = pod, outside, addresses, near, far


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    four, six = subnets()
    far, near = (f"10.252.{secrets.randbelow(250)}.{{}}", f"fd99:{secrets.randbelow(9999):x}::{{}}"), []
    with ExitStack() as stack:
        name = stack.enter_context(bridge_name())
        inner, outer = (stack.enter_context(pod(str(tmp_path))) for _ in range(2))
        ipam = {
            "type": "host-local",
            "dataDir": str(tmp_path / "leases"),
            "ranges": [[{"subnet": four}], [{"subnet": six}]],
        }
        config = {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": name, "isDefaultGateway": True}
        result = await inner.add("builtin", {**config, "ipam": ipam})
        link = f"tv{secrets.token_hex(4)}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "up0", "netns", outer.netns)
        stack.callback(run, "ip", "link", "delete", link)
        for address, length in ((far[0], 24), (far[1], 64)):
            near.append(address.format(1))
            run("ip", "address", "add", f"{address.format(1)}/{length}", "dev", link, "nodad")
            outer.run("ip", "address", "add", f"{address.format(2)}/{length}", "dev", "up0", "nodad")
        run("ip", "link", "set", link, "up")
        outer.run("ip", "link", "set", "up0", "up")
        yield Site(inner, outer, [ip["address"] for ip in result["ips"]], near, [text.format(2) for text in far])


def _seen_as(site: Site, address: str, timeout: float = TIMEOUT) -> str | None:
    """The source address that the neighbour sees when the pod connects to it, None if no answer finds back."""

    def connect() -> bytes:
        with socket.create_connection((address, 7000), timeout) as connection:
            return connection.recv(200)

    try:
        return run_in_netns(site.pod.netns, connect).split(b" ")[1].decode().removeprefix("::ffff:")
    except OSError:
        return None


async def test_pods_go_out_with_the_hosts_address(site: Site) -> None:
    with tcp_server(site.outside.netns, 7000, b"outside"):
        assert _seen_as(site, site.far[0], timeout=2) is None
        masquerade.add([ipaddress.ip_interface(text) for text in site.addresses], "net", "eth0", site.pod.id)
        assert [_seen_as(site, address) for address in site.far] == site.near
        masquerade.remove("net", "eth0", "another")
        masquerade.remove("net", "eth0", site.pod.id)
        masquerade.remove("net", "eth0", site.pod.id)
        assert _seen_as(site, site.far[0], timeout=2) is None


async def test_rules_are_listed_as_those_of_the_program(site: Site) -> None:
    masquerade.add([ipaddress.ip_interface("10.7.7.9/24")], "net", "eth0", site.pod.id)
    listing = run("nft", "list", "table", "inet", "cni_plugins_masquerade")
    comment = masquerade.comment("net", "eth0", site.pod.id)
    assert f'ip saddr 10.7.7.9 ip daddr != 10.7.7.0/24 masquerade comment "{comment[:127]}"' in listing
    assert "ip daddr 224.0.0.0/4 return\n\t\tip6 daddr ff00::/8 return\n\t\tgoto masq_checks" in listing
    masquerade.remove("net", "eth0", site.pod.id)


def test_garbage_of_other_networks_is_left_alone() -> None:
    address, mark = [ipaddress.ip_interface("10.7.7.9/24")], secrets.token_hex(4)
    one, two = f"one-{mark}", f"two-{mark}"
    for network, container in ((one, "dead"), (one, "alive"), (two, "dead")):
        masquerade.add(address, network, "eth0", f"{container}-{mark}")
    masquerade.collect_garbage(one, frozenset({(f"alive-{mark}", "eth0")}))
    with nft.connect() as netlink:
        found = nft.rules(netlink, masquerade.TABLE, masquerade.CHAIN, containing=mark.encode())
    assert [rule.comment.partition("net: ")[2] for rule in found] == [
        f"{one}, if: eth0, id: alive-{mark}",
        f"{two}, if: eth0, id: dead-{mark}",
    ]
    for network in (one, two):
        masquerade.collect_garbage(network, frozenset())
