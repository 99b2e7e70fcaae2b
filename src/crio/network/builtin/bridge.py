"""The bridge plug-in: a veth pair for each pod, its host end a port of a bridge that may be the pods' gateway.

Left to the program: VLANs, MAC spoof checks, port isolation, address plug-ins other than host-local, and masquerading
by an explicit iptables back end. By default this masquerades with nftables where the program would use iptables; the
traffic that is masqueraded is the same.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import secrets
import time
from typing import Any

import msgspec

from crio.base.failpoints import failpoint
from crio.linux import rtnetlink
from crio.linux.namespaces import run_in_netns
from crio.linux.netlink import Netlink, NetlinkError
from crio.linux.rtnetlink import AddressWithPrefix, Link
from crio.network.builtin import COMMON_FIELDS, host_local, masquerade
from crio.network.builtin.pod_interface import check_inside, configure_inside, write_sysctl
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import Dns, Interface, IpConfig, Result, Route, encode_result

log = logging.getLogger(__name__)

_FIELDS = COMMON_FIELDS | {
    "bridge",
    "isGateway",
    "isDefaultGateway",
    "forceAddress",
    "ipMasq",
    "ipMasqBackend",
    "mtu",
    "hairpinMode",
    "promiscMode",
    "ipam",
}
_PORT_UP_TIMEOUT = 2.5
_PORT_UP_POLL = 0.001
_NAME_ATTEMPTS = 10


class _Settings(msgspec.Struct, rename="camel"):
    bridge: str = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    force_address: bool = False
    ip_masq: bool = False
    mtu: int = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    dns: Dns = msgspec.field(default_factory=Dns)

    @property
    def gateway(self) -> bool:
        return self.is_gateway or self.is_default_gateway


class _Port(msgspec.Struct, frozen=True):
    """The host's end of a pair."""

    index: int
    name: str


def knows(raw: dict[str, Any]) -> bool:
    """Whether every field is followed here as the program does; capabilities that change addresses or MACs are not."""
    if not _FIELDS.issuperset(raw) or raw.get("ipMasqBackend") not in (None, "nftables"):
        return False
    if {"mac", "ips"}.intersection(raw.get("capabilities") or ()):
        return False
    ipam = raw.get("ipam") or {}
    if not isinstance(ipam, dict) or (ipam and ipam.get("type") != "host-local") or not host_local.knows(ipam):
        return False
    try:
        settings = msgspec.convert(raw, _Settings)
    except msgspec.ValidationError:
        return False
    return 0 < len(settings.bridge) <= 15 and "/" not in settings.bridge


def add(request: PluginRequest, timeout: float) -> bytes:
    settings = msgspec.convert(request.document, _Settings)
    if settings.hairpin_mode and settings.promisc_mode:
        raise PluginFailed(request, "cannot have hairpinMode and promiscMode at the same time")
    has_ipam = bool(request.document.get("ipam"))
    result = host_local.allocate(request, timeout) if has_ipam else Result(request.version)
    port: _Port | None = None
    try:
        with Netlink() as host:
            bridge = _ensure_bridge(request, host, settings)
            port = _add_pair(host, request, settings, bridge)
            failpoint("network.bridge.after_pair")
            _plan_addresses(result, settings)
            container_mac = run_in_netns(
                request.netns, lambda: configure_inside(request.interface, result.ips, result.routes)
            )
            addresses = [ipaddress.ip_interface(ip.address) for ip in result.ips]
            if settings.gateway:
                _ensure_gateway(request, host, bridge, settings, result.ips)
            if settings.ip_masq and addresses:
                masquerade.add(addresses, request.network, request.interface, request.container_id)
            failpoint("network.bridge.after_masquerade")
            up = _wait_port_up(request, host, port)
            # The bridge's MAC may have changed with its first port or address.
            bridge = rtnetlink.link_by_name(host, settings.bridge) or bridge
    except BaseException:
        _undo(request, port, has_ipam, timeout)
        raise
    result.interfaces = [
        Interface(bridge.name, bridge.mac),
        Interface(port.name, up.mac),
        Interface(request.interface, container_mac, sandbox=request.netns),
    ]
    if settings.dns != Dns():
        result.dns = settings.dns
    return encode_result(result, request.version)


def delete(request: PluginRequest, timeout: float) -> None:
    if request.netns and os.path.exists(request.netns):
        one, other = run_in_netns(request.netns, lambda: (Netlink(), Netlink()))
        with one:
            rtnetlink.delete_link_visibly(one, other, request.interface)
    failpoint("network.bridge.after_delete_link")
    if request.document.get("ipam"):
        host_local.release(request, timeout)
    if request.document.get("ipMasq"):
        masquerade.remove(request.network, request.interface, request.container_id)


def check(request: PluginRequest, timeout: float) -> None:
    settings = msgspec.convert(request.document, _Settings)
    if request.document.get("ipam"):
        host_local.check(request, timeout)
    previous = request.previous()
    if previous is None:
        raise PluginFailed(request, "CHECK needs the result of ADD")
    with Netlink() as host:
        bridge = rtnetlink.link_by_name(host, settings.bridge)
        if bridge is None or bridge.kind != "bridge":
            raise PluginFailed(request, f"{settings.bridge} is {'not a bridge' if bridge else 'gone'}")
        inside = run_in_netns(
            request.netns, lambda: check_inside(request, request.interface, previous.ips, previous.routes)
        )
        port = rtnetlink.link_by_index(host, inside.peer)
        if port is None or port.kind != "veth" or port.master != bridge.index:
            raise PluginFailed(request, f"the host's end of {request.interface} is no port of {settings.bridge}")
        wanted = {bridge.name: bridge.mac, port.name: port.mac, inside.name: inside.mac}
        for interface in previous.interfaces:
            if interface.mac and wanted.get(interface.name, interface.mac) != interface.mac:
                raise PluginFailed(request, f"the MAC address of {interface.name} is not {interface.mac} any more")


def collect_garbage(request: PluginRequest, valid: frozenset[tuple[str, str]], timeout: float) -> None:
    if request.document.get("ipam"):
        host_local.collect_garbage(request, valid, timeout)
    masquerade.collect_garbage(request.network, valid)


def _undo(request: PluginRequest, port: _Port | None, has_ipam: bool, timeout: float) -> None:
    """Take back a failed ADD; the failure that led here is the one that is raised."""
    try:
        if port is not None:
            with Netlink() as host:
                rtnetlink.delete_link_visibly(host, Netlink(), port.name)
        if has_ipam:
            host_local.release(request, timeout)
        masquerade.remove(request.network, request.interface, request.container_id)
    except (OSError, PluginFailed) as error:
        log.warning("cannot undo ADD of %s for %s, DEL will: %s", request.interface, request.container_id, error)


def _ensure_bridge(request: PluginRequest, host: Netlink, settings: _Settings) -> Link:
    bridge = rtnetlink.link_by_name(host, settings.bridge)
    if bridge is None:
        try:
            rtnetlink.add_bridge(host, settings.bridge, mtu=settings.mtu)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
        bridge = rtnetlink.link_by_name(host, settings.bridge)
    if bridge is None or bridge.kind != "bridge":
        raise PluginFailed(request, f"{settings.bridge} exists but is not a bridge")
    if settings.promisc_mode and not bridge.promiscuity:
        rtnetlink.set_promiscuous(host, bridge.index)
    # Router advertisements of a pod must not reach the host (CVE-2020-10749).
    write_sysctl(f"net/ipv6/conf/{bridge.name}/accept_ra", "0")
    if not bridge.up:
        rtnetlink.set_up(host, bridge.index)
    return bridge


def _add_pair(host: Netlink, request: PluginRequest, settings: _Settings, bridge: Link) -> _Port:
    netns = os.open(request.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for attempt in range(_NAME_ATTEMPTS):
            name = f"veth{secrets.token_hex(4)}"
            try:
                rtnetlink.add_veth(host, name, request.interface, netns, master=bridge.index, mtu=settings.mtu)
                break
            except NetlinkError as error:
                taken = error.errno == errno.EEXIST and rtnetlink.link_by_name(host, name) is not None
                if not taken or attempt == _NAME_ATTEMPTS - 1:
                    raise
    finally:
        os.close(netns)
    link = rtnetlink.link_by_name(host, name)
    if link is None:
        raise PluginFailed(request, f"{name} vanished as soon as it was made")
    port = _Port(link.index, name)
    write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
    if settings.hairpin_mode:
        rtnetlink.set_hairpin(host, port.index)
    rtnetlink.set_up(host, port.index)
    return port


def _plan_addresses(result: Result, settings: _Settings) -> None:
    """Say of each address that it is the pod's, name its gateway, and add default routes if the bridge is that."""
    defaulted: set[int] = set()
    for ip in result.ips:
        ip.interface = 2
        subnet = ipaddress.ip_interface(ip.address).network
        if ip.gateway is None and settings.gateway:
            ip.gateway = str(subnet.network_address + 1)
        if settings.is_default_gateway and subnet.version not in defaulted:
            defaulted.add(subnet.version)
            default = "0.0.0.0/0" if subnet.version == 4 else "::/0"
            if not any(route.dst == default and route.gw for route in result.routes):
                result.routes = [*result.routes, Route(default, ip.gateway)]


def _ensure_gateway(
    request: PluginRequest, host: Netlink, bridge: Link, settings: _Settings, ips: list[IpConfig]
) -> None:
    """Give the bridge the gateways' addresses and let the host forward."""
    present = [item.address for item in rtnetlink.addresses(host, bridge.index)]
    versions = set()
    for ip in ips:
        subnet = ipaddress.ip_interface(ip.address).network
        gateway = ipaddress.ip_interface(f"{ip.gateway}/{subnet.prefixlen}")
        versions.add(gateway.version)
        if gateway in present:
            continue
        for other in present:
            if other.version == gateway.version and (gateway.version == 4 or _overlap(other, gateway)):
                if not settings.force_address:
                    raise PluginFailed(request, f"{bridge.name} has the address {other} already, not {gateway}")
                rtnetlink.delete_address(host, bridge.index, other)
        try:
            # The bridge is ours, so nobody has the address: without a search for one, IPv6 works at once.
            rtnetlink.add_address(host, bridge.index, gateway, nodad=gateway.version == 6)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
        # A MAC of its own that is set does not change when ports come and go.
        current = rtnetlink.link_by_index(host, bridge.index)
        if current is not None:
            rtnetlink.set_mac(host, bridge.index, current.mac)
    if 4 in versions:
        write_sysctl("net/ipv4/ip_forward", "1", required=True)
    if 6 in versions:
        write_sysctl("net/ipv6/conf/all/forwarding", "1", required=True)


def _overlap(one: AddressWithPrefix, other: AddressWithPrefix) -> bool:
    return one.ip in other.network or other.ip in one.network


def _wait_port_up(request: PluginRequest, host: Netlink, port: _Port) -> Link:
    """The port once frames pass through it, which the kernel decides a moment after the pod's end is up."""
    deadline = time.monotonic() + _PORT_UP_TIMEOUT
    while True:
        link = rtnetlink.link_by_index(host, port.index)
        if link is None:
            raise PluginFailed(request, f"{port.name} was deleted by somebody else")
        if link.operstate == rtnetlink.OPERSTATE_UP:
            return link
        if time.monotonic() >= deadline:
            raise PluginFailed(request, f"{port.name} did not come up within {_PORT_UP_TIMEOUT:g} s")
        time.sleep(_PORT_UP_POLL)
