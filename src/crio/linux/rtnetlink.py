"""Network interfaces, bridges, addresses and routes (rtnetlink(7)), through a `Netlink` socket.

Every function acts in the network namespace of the socket that it is given.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
import threading
import time
from typing import TypeAlias

import msgspec

from crio.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    attribute,
    attribute_table,
    nested,
    text,
    to_text,
    u8,
    u32,
)

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
AddressWithPrefix: TypeAlias = "ipaddress.IPv4Interface | ipaddress.IPv6Interface"
Prefix: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _GETROUTE = 24, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_PROTINFO, _IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_PROMISCUITY = (
    12,
    16,
    18,
    28,
    29,
    30,
)
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE = 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_EXT_MASK_SKIP_STATS = 1 << 3

IFF_UP = 0x1
IFF_PROMISC = 0x100
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40
OPERSTATE_UP = 6

_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1
_SCOPE_UNIVERSE = 0

_DELETE_POLL = 0.0003

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Link(msgspec.Struct, frozen=True):
    """A network interface. `peer` is the other end's index (for a veth: in the other end's namespace)."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    flags: int
    master: int
    peer: int
    operstate: int
    promiscuity: int

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


class InterfaceAddress(msgspec.Struct, frozen=True):
    address: AddressWithPrefix
    flags: int


def mac_bytes(mac: str) -> bytes:
    """The six bytes of "aa:bb:cc:dd:ee:ff". Raises ValueError."""
    data = bytes.fromhex(mac.replace(":", ""))
    if len(data) != 6:
        raise ValueError(f"cannot use MAC address {mac!r}: it does not have six bytes")
    return data


def link_by_name(netlink: Netlink, name: str) -> Link | None:
    """The interface, or None if there is no such name."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + u32(_IFLA_EXT_MASK, _EXT_MASK_SKIP_STATS)
    try:
        return _link(netlink.get(_GETLINK, body, name))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def link_by_index(netlink: Netlink, index: int) -> Link | None:
    body = _LINK.pack(0, 0, index, 0, 0) + u32(_IFLA_EXT_MASK, _EXT_MASK_SKIP_STATS)
    try:
        return _link(netlink.get(_GETLINK, body, f"interface {index}"))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def links(netlink: Netlink) -> list[Link]:
    body = _LINK.pack(0, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _EXT_MASK_SKIP_STATS)
    return [_link(answer) for answer in netlink.dump(_GETLINK, body)]


def add_bridge(netlink: Netlink, name: str, *, mtu: int = 0) -> None:
    """Make a bridge; NetlinkError with EEXIST if the name is taken. `mtu` 0 leaves it to the kernel."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    if mtu:
        body += u32(_IFLA_MTU, mtu)
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    netlink.request(_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL, name)


def add_veth(
    netlink: Netlink, name: str, peer: str, peer_netns_fd: int, *, master: int = 0, mtu: int = 0, peer_mac: str = ""
) -> None:
    """Make a pair: `name` here, as a port of `master` if given, and `peer` in the other namespace; both down."""
    shared = u32(_IFLA_MTU, mtu) if mtu else b""
    other = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, peer) + u32(_IFLA_NET_NS_FD, peer_netns_fd) + shared
    if peer_mac:
        other += attribute(_IFLA_ADDRESS, mac_bytes(peer_mac))
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + shared
    if master:
        body += u32(_IFLA_MASTER, master)
    body += nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
    )
    netlink.request(_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL, f"{name} and its peer {peer}")


def set_up(netlink: Netlink, index: int) -> None:
    netlink.request(_SETLINK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP), what=f"interface {index}")


def set_promiscuous(netlink: Netlink, index: int) -> None:
    netlink.request(_SETLINK, _LINK.pack(0, 0, index, IFF_PROMISC, IFF_PROMISC), what=f"interface {index}")


def set_mac(netlink: Netlink, index: int, mac: str) -> None:
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    netlink.request(_SETLINK, body, what=f"interface {index}")


def set_hairpin(netlink: Netlink, index: int) -> None:
    """Let a bridge send a frame back through the port by which it came."""
    body = _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0) + nested(_IFLA_PROTINFO, u8(_IFLA_BRPORT_MODE, 1))
    netlink.request(_SETLINK, body, what=f"bridge port {index}")


def delete_link(netlink: Netlink, index: int) -> None:
    netlink.request(_DELLINK, _LINK.pack(0, 0, index, 0, 0), what=f"interface {index}")


def delete_link_visibly(netlink: Netlink, deleting: Netlink, name: str) -> bool:
    """Delete an interface and return once nobody can see it any more; false if there was none.

    The kernel ends the request only after all processors have let go of the device, 15 to 40 ms later, though the
    device, its peer, addresses and routes are gone after one. A thread of its own waits for that, with `deleting`, a
    second socket in the same namespace, which is closed in any case.
    """
    link = link_by_name(netlink, name)
    if link is None:
        deleting.close()
        return False
    failure: list[OSError] = []
    index = link.index

    def work() -> None:
        with deleting:
            try:
                delete_link(deleting, index)
            except OSError as error:
                failure.append(error)

    thread = threading.Thread(target=work, name=f"delete {name}", daemon=True)
    thread.start()
    while thread.is_alive() and link_by_index(netlink, index) is not None:
        time.sleep(_DELETE_POLL)
    if failure and failure[0].errno != errno.ENODEV:
        raise failure[0]
    return True


def addresses(netlink: Netlink, index: int) -> list[InterfaceAddress]:
    """The addresses of one interface, of both families."""
    found = []
    for answer in netlink.dump(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, index), f"interface {index}"):
        family, prefix_length, flags, _, owner = _ADDRESS.unpack_from(answer)
        if owner != index or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        table = attribute_table(answer, _ADDRESS.size)
        # For a point-to-point address IFA_ADDRESS is the other end.
        address = ipaddress.ip_interface((table.get(_IFA_LOCAL) or table[_IFA_ADDRESS], prefix_length))
        if _IFA_FLAGS in table:
            flags = struct.unpack("=I", table[_IFA_FLAGS])[0]
        found.append(InterfaceAddress(address, flags))
    return found


def add_address(netlink: Netlink, index: int, address: AddressWithPrefix, *, nodad: bool = False) -> None:
    """Give an interface an address; an IPv4 one gets its subnet's broadcast address too."""
    body = _address_body(index, address, IFA_F_NODAD if nodad else 0)
    if address.version == 4 and address.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    netlink.request(_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL, str(address))


def delete_address(netlink: Netlink, index: int, address: AddressWithPrefix) -> None:
    netlink.request(_DELADDR, _address_body(index, address, 0), what=str(address))


def add_route(netlink: Netlink, index: int, destination: Prefix, gateway: Address | None, *, priority: int = 0) -> None:
    """Add a route through an interface to the main table; NetlinkError with EEXIST if it is there."""
    body = _ROUTE.pack(
        _family(destination.version),
        destination.prefixlen,
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_BOOT,
        _SCOPE_UNIVERSE,
        _RTN_UNICAST,
        0,
    )
    body += attribute(_RTA_DST, destination.network_address.packed) + u32(_RTA_OIF, index)
    if gateway is not None:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    if priority:
        body += u32(_RTA_PRIORITY, priority)
    netlink.request(_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL, str(destination))


class Route(msgspec.Struct, frozen=True):
    """A route of the main table; no `destination` is the default route."""

    destination: Prefix | None
    gateway: Address | None
    interface: int


def routes(netlink: Netlink, version: int) -> list[Route]:
    """The main table's routes of IP version 4 or 6."""
    found = []
    for answer in netlink.dump(_GETROUTE, _ROUTE.pack(_family(version), 0, 0, 0, 0, 0, 0, 0, 0)):
        length = answer[1]
        table = attribute_table(answer, _ROUTE.size)
        number = struct.unpack("=I", table[_RTA_TABLE])[0] if _RTA_TABLE in table else answer[4]
        if number != _RT_TABLE_MAIN:
            continue
        destination = ipaddress.ip_network((table[_RTA_DST], length)) if _RTA_DST in table else None
        gateway = ipaddress.ip_address(table[_RTA_GATEWAY]) if _RTA_GATEWAY in table else None
        found.append(Route(destination, gateway, struct.unpack("=I", table.get(_RTA_OIF, b"\0\0\0\0"))[0]))
    return found


def outgoing_interface(netlink: Netlink, address: Address) -> int:
    """The index of the interface by which the host reaches `address`; 0 if it has no route."""
    body = _ROUTE.pack(_family(address.version), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answer = netlink.get(_GETROUTE, body + attribute(_RTA_DST, address.packed), str(address))
    except NetlinkError:
        return 0
    index: int = struct.unpack("=I", attribute_table(answer, _ROUTE.size).get(_RTA_OIF, b"\0\0\0\0"))[0]
    return index


def _family(version: int) -> int:
    return int(socket.AF_INET if version == 4 else socket.AF_INET6)


def _address_body(index: int, address: AddressWithPrefix, flags: int) -> bytes:
    packed = address.ip.packed
    body = _ADDRESS.pack(_family(address.version), address.network.prefixlen, flags, 0, index)
    return body + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def _link(answer: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(answer)
    table = attribute_table(answer, _LINK.size)

    def number(kind: int) -> int:
        data = table.get(kind, b"")
        return int.from_bytes(data, sys.byteorder)

    return Link(
        index=index,
        name=to_text(table.get(_IFLA_IFNAME, b"")),
        kind=to_text(attribute_table(table.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")),
        mac=table.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=number(_IFLA_MTU),
        flags=flags,
        master=number(_IFLA_MASTER),
        peer=number(_IFLA_LINK),
        operstate=number(_IFLA_OPERSTATE),
        promiscuity=number(_IFLA_PROMISCUITY),
    )
