"""A pod's interface as it is set up from inside the pod's network namespace, and kernel parameters of interfaces.

What is here runs in a thread that is in the namespace (`namespaces.run_in_netns`).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import time
from collections.abc import Collection, Sequence

from crio.linux import rtnetlink
from crio.linux.netlink import Netlink, NetlinkError
from crio.linux.rtnetlink import Address, AddressWithPrefix, Link
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import IpConfig, Route

_SETTLE_TIMEOUT = 5.0
_SETTLE_POLL = 0.001


def configure_inside(name: str, ips: Sequence[IpConfig], routes: Sequence[Route]) -> str:
    """Give the interface its addresses and routes and bring it up; its MAC. Raises OSError."""
    # No neighbour can have an address that IPAM gave to this pod: looking for one only costs seconds.
    write_sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")
    # Others learn at once that an address has moved here.
    write_sysctl(f"net/ipv4/conf/{name}/arp_notify", "1")
    gateways: dict[int, Address] = {}
    six = False
    with Netlink() as netlink:
        link = rtnetlink.link_by_name(netlink, name)
        if link is None:
            raise NetlinkError(errno.ENODEV, "", name)
        for ip in ips:
            address = ipaddress.ip_interface(ip.address)
            if address.version == 6 and not six:
                six = True
                _enable_ipv6(name)
            rtnetlink.add_address(netlink, link.index, address, nodad=address.version == 6)
            if ip.gateway:
                gateway = ipaddress.ip_address(ip.gateway)
                gateways.setdefault(gateway.version, gateway)
        rtnetlink.set_up(netlink, link.index)
        if 6 in gateways:
            _settle(netlink, link, {ipaddress.ip_interface(ip.address) for ip in ips})
        for route in routes:
            destination = ipaddress.ip_network(route.dst, strict=False)
            via = ipaddress.ip_address(route.gw) if route.gw else gateways.get(destination.version)
            try:
                rtnetlink.add_route(netlink, link.index, destination, via)
            except NetlinkError as error:
                # Of two routes to one destination the first one stays.
                if error.errno != errno.EEXIST:
                    raise
    return link.mac


def check_inside(request: PluginRequest, name: str, ips: Sequence[IpConfig], routes: Sequence[Route]) -> Link:
    """The interface, if it has these addresses and the namespace these routes. Raises PluginFailed."""
    with Netlink() as netlink:
        link = rtnetlink.link_by_name(netlink, name)
        if link is None or link.kind != "veth":
            raise PluginFailed(request, f"{name} in the pod is {'not a veth' if link else 'gone'}")
        present = {item.address for item in rtnetlink.addresses(netlink, link.index)}
        for ip in ips:
            if ipaddress.ip_interface(ip.address) not in present:
                raise PluginFailed(request, f"{name} has lost its address {ip.address}")
        for route in routes:
            destination = ipaddress.ip_network(route.dst, strict=False)
            wanted = None if destination.prefixlen == 0 else destination
            if not any(
                known.destination == wanted and (not route.gw or known.gateway == ipaddress.ip_address(route.gw))
                for known in rtnetlink.routes(netlink, destination.version)
            ):
                raise PluginFailed(request, f"the pod has lost its route to {route.dst}")
    return link


def write_sysctl(path: str, value: str, *, required: bool = False) -> None:
    """Set a parameter below /proc/sys of the thread's network namespace, unless it has the value already.

    Where IPv6 is off its parameters do not exist: that is fine unless `required`.
    """
    full = "/proc/sys/" + path
    try:
        fd = os.open(full, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        if required:
            raise
        return
    try:
        if os.read(fd, 64).strip().decode() != value:
            os.pwrite(fd, value.encode(), 0)
    except OSError as error:
        if required:
            raise OSError(error.errno, error.strerror, full) from None
    finally:
        os.close(fd)


def _enable_ipv6(name: str) -> None:
    for interface in ("lo", name):
        write_sysctl(f"net/ipv6/conf/{interface}/disable_ipv6", "0")
    write_sysctl(f"net/ipv6/conf/{name}/keep_addr_on_down", "1")


def _settle(netlink: Netlink, link: Link, wanted: Collection[AddressWithPrefix]) -> None:
    """Wait until none of these addresses is tentative any more: before, routes and sockets can't use them."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT
    while True:
        flags = [item.flags for item in rtnetlink.addresses(netlink, link.index) if item.address in wanted]
        if any(flag & rtnetlink.IFA_F_DADFAILED for flag in flags):
            raise NetlinkError(errno.EADDRINUSE, "duplicate address detection failed", link.name)
        if not any(flag & rtnetlink.IFA_F_TENTATIVE for flag in flags):
            return
        if time.monotonic() >= deadline:
            raise NetlinkError(errno.ETIMEDOUT, f"an address is tentative for {_SETTLE_TIMEOUT:g} s", link.name)
        time.sleep(_SETTLE_POLL)
