"""Connections that netfilter tracks: removing those that would keep packets on an outdated way.

A UDP flow has no end, so a client that keeps sending keeps the translation that its first packet got.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection

from crio.linux.netlink import NETLINK_NETFILTER, Netlink, NetlinkError, attribute_table, attributes, nested

IPPROTO_UDP = 17

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2
_TUPLE_ORIGINAL = 1
_TUPLE_PROTO = 2
_PROTO_NUMBER, _PROTO_DESTINATION_PORT = 1, 3


def forget_udp(ports: Collection[int], family: int = socket.AF_INET) -> int:
    """Drop tracked UDP flows whose first packet went to one of these ports; how many there were. Raises OSError."""
    wanted = {struct.pack(">H", port) for port in ports}
    removed = 0
    header = struct.pack(">BBH", family, 0, 0)
    with Netlink(NETLINK_NETFILTER) as netlink:
        try:
            flows = netlink.dump(_GET, header)
        except NetlinkError as error:
            # No connection tracking in this kernel, so nothing is tracked.
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return 0
            raise
        for flow in flows:
            original = attribute_table(flow, 4).get(_TUPLE_ORIGINAL, b"")
            protocol = attribute_table(attribute_table(original).get(_TUPLE_PROTO, b""))
            if protocol.get(_PROTO_NUMBER) != bytes([IPPROTO_UDP]):
                continue
            if protocol.get(_PROTO_DESTINATION_PORT) in wanted:
                body = header + nested(_TUPLE_ORIGINAL, *_renest(original))
                try:
                    netlink.request(_DELETE, body)
                    removed += 1
                except NetlinkError as error:
                    if error.errno != errno.ENOENT:
                        raise
    return removed


def _renest(data: bytes) -> list[bytes]:
    """The two parts of a tuple (addresses, protocol) with their nesting marks, which reading took off."""
    return [nested(kind, part) for kind, part in attributes(data)]
