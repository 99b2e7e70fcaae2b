"""The loopback plug-in: `lo` up, and its addresses as the result of a chain that begins with it."""

from __future__ import annotations

from typing import Any

import msgspec

from crio.linux import rtnetlink
from crio.linux.namespaces import loopback_up, run_in_netns
from crio.linux.netlink import Netlink
from crio.linux.rtnetlink import IFF_UP
from crio.network.builtin import COMMON_FIELDS
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import Interface, IpConfig, Result, encode_result


def knows(raw: dict[str, Any]) -> bool:
    return COMMON_FIELDS.issuperset(raw)


def add(request: PluginRequest, timeout: float) -> bytes:
    run_in_netns(request.netns, loopback_up)
    previous = request.document.get("prevResult")
    if previous is not None:
        return bytes(previous) if isinstance(previous, msgspec.Raw) else msgspec.json.encode(previous)
    addresses = run_in_netns(request.netns, _addresses)
    result = Result(
        request.version,
        interfaces=[Interface("lo", "00:00:00:00:00:00", sandbox=request.netns)],
        ips=[IpConfig(address, 0) for address in addresses],
    )
    return encode_result(result, request.version)


def delete(request: PluginRequest, timeout: float) -> None:
    """Nothing to do: `lo` goes with its namespace, and other interfaces may still need it."""


def check(request: PluginRequest, timeout: float) -> None:
    def up() -> bool:
        with Netlink() as netlink:
            link = rtnetlink.link_by_name(netlink, "lo")
            return link is not None and bool(link.flags & IFF_UP)

    if not run_in_netns(request.netns, up):
        raise PluginFailed(request, "lo is down")


def collect_garbage(request: PluginRequest, valid: frozenset[tuple[str, str]], timeout: float) -> None:
    """Nothing outside the namespace is ever made."""


def _addresses() -> list[str]:
    with Netlink() as netlink:
        link = rtnetlink.link_by_name(netlink, "lo")
        return [] if link is None else [str(item.address) for item in rtnetlink.addresses(netlink, link.index)]
