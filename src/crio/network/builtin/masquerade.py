"""Source addresses of pods hidden behind the host's for traffic that leaves their subnet, with nftables.

The table is that of the CNI project's plug-ins in their nftables mode: one rule for each address, found again by a
comment that begins with a hash of network, interface and container.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from crio.linux import nft
from crio.linux.rtnetlink import AddressWithPrefix

TABLE = nft.Table(nft.NFPROTO_INET, "cni_plugins_masquerade")
CHAIN = "masq_checks"

_SOURCE, _DESTINATION = {4: 12, 6: 8}, {4: 16, 6: 24}
_PROTOCOL = {4: nft.NFPROTO_IPV4, 6: nft.NFPROTO_IPV6}


def comment(network: str, interface: str, container_id: str) -> str:
    """The comment of the rules of one attachment."""
    words = f"{_instance(network, interface, container_id)}, net: {network}, if: {interface}, id: {container_id}"
    return words.replace('"', "")[: nft.MAX_COMMENT]


def add(addresses: Sequence[AddressWithPrefix], network: str, interface: str, container_id: str) -> None:
    """Hide these addresses of one attachment. Raises OSError."""
    batch = nft.Batch()
    batch.add_table(TABLE, "Masquerading for plugins from github.com/containernetworking/plugins")
    batch.add_chain(TABLE, CHAIN, "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet")
    batch.add_base_chain(TABLE, "postrouting", "nat", nft.HOOK_POSTROUTING, nft.PRIORITY_SRCNAT)
    batch.flush_chain(TABLE, "postrouting")
    batch.add_rule(
        TABLE, "postrouting", *_version(4), nft.payload(1, 16, 4), nft.mask(b"\xf0\0\0\0"), nft.compare(b"\xe0\0\0\0"),
        nft.return_(),
    )  # fmt: skip
    batch.add_rule(TABLE, "postrouting", *_version(6), nft.payload(1, 24, 1), nft.compare(b"\xff"), nft.return_())
    batch.add_rule(TABLE, "postrouting", nft.goto(CHAIN))
    for address in addresses:
        batch.add_rule(TABLE, CHAIN, *_rule(address), comment=comment(network, interface, container_id))
    with nft.connect() as netlink:
        batch.commit(netlink)


def remove(network: str, interface: str, container_id: str) -> None:
    """Remove the rules of one attachment; fine if there are none. Raises OSError."""
    prefix = _instance(network, interface, container_id)
    _delete(lambda found: found.startswith(prefix), prefix)


def collect_garbage(network: str, valid: frozenset[tuple[str, str]]) -> None:
    """Remove the rules of the network whose (container, interface) is not in `valid`. Raises OSError."""
    prefix = _hash(network) + "-"
    kept = {_instance(network, interface, container) for container, interface in valid}
    _delete(lambda found: found.startswith(prefix) and found.partition(",")[0] not in kept, prefix)


def _delete(unwanted: Callable[[str], bool], prefix: str) -> None:
    with nft.connect() as netlink:
        batch = nft.Batch()
        for rule in nft.rules(netlink, TABLE, CHAIN, containing=prefix.encode()):
            if unwanted(rule.comment):
                batch.delete_rule(TABLE, CHAIN, rule.handle)
        batch.commit(netlink)


def _rule(address: AddressWithPrefix) -> list[bytes]:
    version, network = address.version, address.network
    length = address.max_prefixlen // 8
    return [
        *_version(version),
        nft.payload(1, _SOURCE[version], length),
        nft.compare(address.ip.packed),
        nft.payload(1, _DESTINATION[version], length),
        nft.mask(network.netmask.packed),
        nft.compare(network.network_address.packed, equal=False),
        nft.masquerade(),
    ]


def _version(version: int) -> list[bytes]:
    return [nft.meta(nft.META_NFPROTO), nft.compare(bytes([_PROTOCOL[version]]))]


def _instance(network: str, interface: str, container_id: str) -> str:
    return f"{_hash(network)}-{_hash(f'{interface}:{container_id}')}"


def _hash(text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()[:16]
