"""Host ports on 127.0.0.1: letting packets from there leave towards a pod, and nothing else with such an address."""

from __future__ import annotations

from crio.linux import nft, rtnetlink
from crio.linux.netlink import Netlink
from crio.linux.rtnetlink import Address

TABLE = nft.Table(nft.NFPROTO_IPV4, "crio_localnet")


def enable_localnet(address: Address) -> None:
    """Set route_localnet on the interface that leads to the pod's IPv4 address. Raises OSError.

    Without it the kernel takes a packet from 127.0.0.1 to a pod for a forged one. It also lets the pods of that bridge
    send to 127.0.0.1 of the host (CVE-2020-8558): a rule drops what comes in from elsewhere with such an address.
    """
    with Netlink() as netlink:
        index = rtnetlink.outgoing_interface(netlink, address)
        link = rtnetlink.link_by_index(netlink, index) if index else None
    if link is None:
        return
    _guard()
    path = f"/proc/sys/net/ipv4/conf/{link.name}/route_localnet"
    with open(path, "r+", encoding="ascii") as file:
        if file.read().strip() != "1":
            file.seek(0)
            file.write("1")


def _guard() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE, "127.0.0.0/8 of the host stays closed to pods and neighbours")
    # Before connection tracking: replies that it will translate back to 127.0.0.1 still have another address here.
    batch.add_base_chain(TABLE, "prerouting", "filter", nft.HOOK_PREROUTING, nft.PRIORITY_RAW)
    batch.flush_chain(TABLE, "prerouting")
    batch.add_rule(
        TABLE,
        "prerouting",
        nft.meta(nft.META_IIFNAME),
        nft.compare(b"lo".ljust(16, b"\0"), equal=False),
        nft.payload(1, 16, 1),
        nft.compare(b"\x7f"),
        nft.drop(),
    )
    with nft.connect() as netlink:
        batch.commit(netlink)
