from __future__ import annotations

import errno
import ipaddress
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crio.linux import mount, namespaces, rtnetlink
from crio.linux.netlink import Netlink, NetlinkError

pytestmark = pytest.mark.root


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[list[str]]:
    """Two network namespaces, so that nothing is made in the host's."""
    paths = [f"{tmp_path}/netns/{name}" for name in ("one", "two")]
    for path in paths:
        namespaces.pin({"net": path})
    yield paths
    for path in paths:
        namespaces.unpin(path)
    mount.unmount_below(str(tmp_path))


@pytest.fixture
def sockets(netns: list[str]) -> Iterator[list[Netlink]]:
    with ExitStack() as stack:
        yield [stack.enter_context(namespaces.run_in_netns(path, Netlink)) for path in netns]


def _ip(path: str, *argv: str) -> str:
    argv = ("nsenter", f"--net={path}", "ip", *argv)
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_a_bridge_with_a_pair(netns: list[str], sockets: list[Netlink]) -> None:
    one, two = sockets
    rtnetlink.add_bridge(one, "br0", mtu=1400)
    bridge = rtnetlink.link_by_name(one, "br0")
    assert bridge is not None
    assert (bridge.kind, bridge.mtu, bridge.up, bridge.promiscuity) == ("bridge", 1400, False, 0)
    rtnetlink.set_up(one, bridge.index)
    rtnetlink.set_promiscuous(one, bridge.index)
    rtnetlink.set_mac(one, bridge.index, "02:00:00:00:00:01")
    fd = os.open(netns[1], os.O_RDONLY)
    rtnetlink.add_veth(one, "port", "eth0", fd, master=bridge.index, mtu=1400, peer_mac="02:00:00:00:00:02")
    os.close(fd)
    port, inner = rtnetlink.link_by_name(one, "port"), rtnetlink.link_by_name(two, "eth0")
    assert port is not None
    assert inner is not None
    assert (port.master, port.peer, inner.peer, inner.mac) == (
        bridge.index,
        inner.index,
        port.index,
        "02:00:00:00:00:02",
    )
    assert (port.mtu, inner.mtu, inner.kind) == (1400, 1400, "veth")
    rtnetlink.set_hairpin(one, port.index)
    for netlink, link in ((one, port), (two, inner)):
        rtnetlink.set_up(netlink, link.index)
    again = rtnetlink.link_by_index(one, bridge.index)
    assert again is not None
    assert (again.mac, again.up, again.promiscuity) == ("02:00:00:00:00:01", True, 1)
    assert "hairpin on" in _ip(netns[0], "-d", "link", "show", "port")
    assert {link.name for link in rtnetlink.links(one)} >= {"lo", "br0", "port"}


def test_addresses_and_routes(netns: list[str], sockets: list[Netlink]) -> None:
    one = sockets[0]
    rtnetlink.add_bridge(one, "br0")
    link = rtnetlink.link_by_name(one, "br0")
    assert link is not None
    rtnetlink.set_up(one, link.index)
    four, six = ipaddress.ip_interface("10.1.2.3/24"), ipaddress.ip_interface("fd00::3/64")
    rtnetlink.add_address(one, link.index, four)
    rtnetlink.add_address(one, link.index, six, nodad=True)
    held = {item.address: item.flags for item in rtnetlink.addresses(one, link.index)}
    assert {four, six} <= held.keys()
    assert held[six] & rtnetlink.IFA_F_NODAD
    assert "brd 10.1.2.255" in _ip(netns[0], "address", "show", "br0")
    with pytest.raises(NetlinkError) as caught:
        rtnetlink.add_address(one, link.index, four)
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, "10.1.2.3/24")

    gateway = ipaddress.ip_address("10.1.2.1")
    rtnetlink.add_route(one, link.index, ipaddress.ip_network("0.0.0.0/0"), gateway)
    rtnetlink.add_route(one, link.index, ipaddress.ip_network("192.0.2.0/24"), None, priority=5)
    rtnetlink.add_route(one, link.index, ipaddress.ip_network("::/0"), ipaddress.ip_address("fd00::1"))
    known = {route.destination: route for route in rtnetlink.routes(one, 4)}
    assert known[None].gateway == gateway
    assert known[ipaddress.ip_network("192.0.2.0/24")] == rtnetlink.Route(
        ipaddress.ip_network("192.0.2.0/24"), None, link.index
    )
    assert None in {route.destination for route in rtnetlink.routes(one, 6)}
    assert rtnetlink.outgoing_interface(one, ipaddress.ip_address("8.8.8.8")) == link.index
    assert rtnetlink.outgoing_interface(sockets[1], ipaddress.ip_address("8.8.8.8")) == 0
    rtnetlink.delete_address(one, link.index, four)
    assert four not in {item.address for item in rtnetlink.addresses(one, link.index)}


def test_an_address_of_another_interface_is_not_listed(sockets: list[Netlink]) -> None:
    one = sockets[0]
    rtnetlink.add_bridge(one, "br0")
    link = rtnetlink.link_by_name(one, "br0")
    assert link is not None
    assert rtnetlink.addresses(one, link.index) == []


def test_what_is_not_there(sockets: list[Netlink]) -> None:
    one = sockets[0]
    assert rtnetlink.link_by_name(one, "none") is None
    assert rtnetlink.link_by_index(one, 99) is None
    with pytest.raises(NetlinkError):
        rtnetlink.delete_link(one, 99)
    with pytest.raises(ValueError, match="six bytes"):
        rtnetlink.mac_bytes("02:00")


def test_a_pair_is_gone_when_its_deletion_returns(netns: list[str], sockets: list[Netlink]) -> None:
    one, two = sockets
    fd = os.open(netns[1], os.O_RDONLY)
    rtnetlink.add_veth(one, "port", "eth0", fd)
    os.close(fd)
    threads = threading.active_count()
    assert rtnetlink.delete_link_visibly(two, namespaces.run_in_netns(netns[1], Netlink), "eth0")
    assert rtnetlink.link_by_name(two, "eth0") is None
    assert rtnetlink.link_by_name(one, "port") is None
    assert not rtnetlink.delete_link_visibly(two, namespaces.run_in_netns(netns[1], Netlink), "eth0")
    for thread in threading.enumerate():
        if thread.name == "delete eth0":
            thread.join(60)
    assert threading.active_count() <= threads
    with pytest.raises(NetlinkError):
        rtnetlink.delete_link_visibly(one, namespaces.run_in_netns(netns[0], Netlink), "lo")
