"""Host ports without a plug-in: maps in a table of our own that the kernel looks up for each new connection.

There is one table per IP family with the same chains, while there are mappings. A mapping is one element of a map,
keyed by protocol and port (and address, if only that of the host is meant), which carries the pod's id as its comment.
Connections from a pod to itself and from the host's 127.0.0.1 are masqueraded; nothing else is. What the tables hold
survives the daemon, and is made anew in one transaction when it starts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from crio.base.errors import CrioError, FailedPrecondition, Internal, InvalidArgument
from crio.base.executor import to_its_end
from crio.base.failpoints import failpoint
from crio.linux import conntrack, nft
from crio.linux.netlink import Netlink
from crio.linux.rtnetlink import Address
from crio.network.localnet import enable_localnet
from crio.network.pod import PortMapping

log = logging.getLogger(__name__)

TABLE = "crio_hostports"
"""Of a node's daemon. A second one on the machine has a name of its own, or each would take the other's for garbage."""
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_ANY, _SPECIFIC, _HAIRPINS = "hostports", "hostip_hostports", "hairpins"


class _Family(msgspec.Struct, frozen=True):
    """What differs between IPv4 and IPv6."""

    version: int
    number: int
    address_type: int
    length: int
    source: int
    destination: int

    def table(self, name: str) -> nft.Table:
        return nft.Table(self.number, name)


_FAMILIES = {
    4: _Family(4, nft.NFPROTO_IPV4, nft.TYPE_IPV4_ADDR, 4, 12, 16),
    6: _Family(6, nft.NFPROTO_IPV6, nft.TYPE_IPV6_ADDR, 16, 8, 24),
}


class _Entry(msgspec.Struct, frozen=True):
    """One port of the host; no `host` means all of its addresses of the family."""

    version: int
    protocol: int
    port: int
    host: Address | None
    target: Address
    target_port: int

    def collides(self, other: _Entry) -> bool:
        return (
            (self.version, self.protocol, self.port) == (other.version, other.protocol, other.port)
            and (self.host is None or other.host is None or self.host == other.host)
        )  # fmt: skip

    def describe(self) -> str:
        if self.host is None:
            return f"{self.port}/{_NAMES[self.protocol]}"
        where = f"[{self.host}]" if self.version == 6 else str(self.host)
        return f"{where}:{self.port}/{_NAMES[self.protocol]}"


class HostPorts:
    """The mapped ports of all pods. `rebuild` once at the start, before the first `add`."""

    def __init__(self, table: str = TABLE) -> None:
        self._table = table
        self._entries: dict[str, list[_Entry]] = {}
        self._rebuilt = False
        self._lock = asyncio.Lock()

    async def add(self, pod_id: str, mappings: Sequence[PortMapping], ips: Sequence[str]) -> None:
        """Map the ports to the pod's first address of each family; all or none.

        Raises FailedPrecondition, which names the other pod, if a port is taken; InvalidArgument; OSError from the
        kernel as Internal. Who cancels it has to `remove` them.
        """
        entries = list(_plan(mappings, ips))
        if not entries:
            return
        async with self._lock:
            self._refuse_conflicts(pod_id, entries)
            self._entries[pod_id] = entries
            try:
                await to_its_end(_apply_add, self._table, pod_id, entries)
            except CrioError:
                del self._entries[pod_id]
                raise
            failpoint("network.hostport.after_add")

    async def remove(self, pod_id: str) -> None:
        """Remove the pod's mappings; fine if it has none."""
        async with self._lock:
            entries = self._entries.get(pod_id, [])
            # Before `rebuild` there may be some of an earlier run that only the kernel knows.
            if entries or not self._rebuilt:
                last = self._rebuilt and len(self._entries) == 1
                await to_its_end(_apply_last if last else _apply_remove, self._table, pod_id, entries)
                self._entries.pop(pod_id, None)

    async def rebuild(self, pods: Iterable[tuple[str, Sequence[PortMapping], Sequence[str]]]) -> None:
        """Make the tables hold exactly the mappings of these pods (id, mappings, addresses), without a gap between.

        For the daemon's start: what an earlier run left for pods that are gone goes, what somebody else removed comes
        back. A pod whose ports collide with an earlier one's, or cannot be mapped, is left out and logged; so is a
        kernel that can't do it.
        """
        async with self._lock:
            self._entries.clear()
            for pod_id, mappings, ips in pods:
                try:
                    entries = list(_plan(mappings, ips))
                    self._refuse_conflicts(pod_id, entries)
                except (FailedPrecondition, InvalidArgument) as error:
                    log.warning("%s; pod %s stays without host ports", error.message, pod_id[:12])
                    continue
                if entries:
                    self._entries[pod_id] = entries
            try:
                await asyncio.to_thread(_apply_all, self._table, dict(self._entries))
            except CrioError as error:
                # A kernel without nf_tables can run all pods but those with host ports.
                log.error("%s; host ports do not work until the kernel has nf_tables with NAT", error.message)
            self._rebuilt = True

    def _refuse_conflicts(self, pod_id: str, entries: list[_Entry]) -> None:
        for owner, present in self._entries.items():
            for entry in entries:
                if any(entry.collides(other) for other in present):
                    raise FailedPrecondition(
                        f"cannot map host port {entry.describe()} to pod {pod_id[:12]}: pod {owner[:12]} has it"
                    )


def _plan(mappings: Sequence[PortMapping], ips: Sequence[str]) -> Iterator[_Entry]:
    """The entries for a pod's mappings; the same one twice is one. Raises InvalidArgument."""
    targets: dict[int, Address] = {}
    for ip in ips:
        address = ipaddress.ip_address(ip)
        targets.setdefault(address.version, address)
    seen: list[_Entry] = []
    for mapping in mappings:
        if not mapping.host_port:
            continue
        for port in (mapping.host_port, mapping.container_port):
            if not 0 < port < 65536:
                raise InvalidArgument(f"cannot map host port {mapping.host_port}: {port} is no port number")
        if mapping.protocol not in _PROTOCOLS:
            raise InvalidArgument(f"cannot map host port {mapping.host_port}: protocol {mapping.protocol!r} is unknown")
        host = _host_address(mapping)
        for version, target in targets.items():
            if host is not None and host.version != version:
                continue
            specific = None if host is None or host.is_unspecified else host
            entry = _Entry(
                version, _PROTOCOLS[mapping.protocol], mapping.host_port, specific, target, mapping.container_port
            )
            if entry in seen:
                continue
            if any(entry.collides(other) for other in seen):
                raise InvalidArgument(f"cannot map host port {entry.describe()}: the pod asks for it twice")
            seen.append(entry)
            yield entry


def _host_address(mapping: PortMapping) -> Address | None:
    if not mapping.host_ip:
        return None
    try:
        return ipaddress.ip_address(mapping.host_ip)
    except ValueError as error:
        raise InvalidArgument(f"cannot map host port {mapping.host_port}: {error}") from None


# Changes to the kernel's tables


def _apply_add(table: str, pod_id: str, entries: list[_Entry]) -> None:
    batch = nft.Batch()
    for version in sorted({entry.version for entry in entries}):
        _ensure_table(batch, _FAMILIES[version], table)
    _add_entries(batch, table, pod_id, entries)
    _commit(batch, f"map host ports of pod {pod_id[:12]}")
    _after_add(pod_id, entries)


def _apply_all(table: str, entries: Mapping[str, list[_Entry]]) -> None:
    batch = nft.Batch()
    used = {entry.version for present in entries.values() for entry in present}
    for family in _FAMILIES.values():
        # Deleting what may not be there fails; adding first makes sure that it is.
        batch.add_table(family.table(table))
        batch.delete_table(family.table(table))
        if family.version in used:
            _ensure_table(batch, family, table)
    for pod_id, present in entries.items():
        _add_entries(batch, table, pod_id, present)
    _commit(batch, "rebuild the host ports")
    for pod_id, present in entries.items():
        _after_add(pod_id, present)


def _apply_last(table: str, pod_id: str, entries: list[_Entry]) -> None:
    """Remove the only mappings that there are, and the tables."""
    _apply_all(table, {})
    _forget_udp(pod_id, entries)


def _apply_remove(table: str, pod_id: str, entries: list[_Entry]) -> None:
    """By what is there: somebody else may have removed some or all."""
    with nft.connect() as netlink:
        batch = nft.Batch()
        for family in _FAMILIES.values():
            for name in (_ANY, _SPECIFIC, _HAIRPINS):
                mine = [item for item in nft.elements(netlink, family.table(table), name) if item.comment == pod_id]
                if mine:
                    batch.delete_elements(family.table(table), name, mine)
        _commit(batch, f"remove host ports of pod {pod_id[:12]}", netlink)
    _forget_udp(pod_id, entries)


def _after_add(pod_id: str, entries: list[_Entry]) -> None:
    _forget_udp(pod_id, entries)
    for entry in entries:
        if entry.version == 4:
            try:
                enable_localnet(entry.target)
            except OSError as error:
                log.warning("host ports of pod %s cannot be reached at 127.0.0.1: %s", pod_id[:12], error)
            return


def _forget_udp(pod_id: str, entries: list[_Entry]) -> None:
    """A UDP client that keeps sending would otherwise keep the way that its first packet took."""
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        ports = {entry.port for entry in entries if entry.version == version and entry.protocol == socket.IPPROTO_UDP}
        if ports:
            try:
                conntrack.forget_udp(ports, family)
            except OSError as error:
                log.warning("cannot drop old UDP flows to the host ports of pod %s: %s", pod_id[:12], error)


def _commit(batch: nft.Batch, what: str, netlink: Netlink | None = None) -> None:
    try:
        if netlink is not None:
            batch.commit(netlink)
            return
        with nft.connect() as own:
            batch.commit(own)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise Internal(f"cannot {what}: nftables: {error.strerror}{where}") from None


def _add_entries(batch: nft.Batch, table: str, pod_id: str, entries: list[_Entry]) -> None:
    for version, family in _FAMILIES.items():
        by_map: dict[str, list[nft.Element]] = {}
        for entry in entries:
            if entry.version == version:
                name = _ANY if entry.host is None else _SPECIFIC
                by_map.setdefault(name, []).append(_element(pod_id, entry))
        for name, elements in by_map.items():
            batch.add_elements(family.table(table), name, elements)
        targets = {entry.target for entry in entries if entry.version == version}
        if targets:
            pairs = [nft.Element(target.packed + target.packed, b"", pod_id) for target in targets]
            batch.add_elements(family.table(table), _HAIRPINS, pairs)


def _element(pod_id: str, entry: _Entry) -> nft.Element:
    fields = [bytes([entry.protocol]), entry.port.to_bytes(2, "big")]
    if entry.host is not None:
        fields.insert(0, entry.host.packed)
    value = nft.padded(entry.target.packed, entry.target_port.to_bytes(2, "big"))
    return nft.Element(nft.padded(*fields), value, pod_id)


def _ensure_table(batch: nft.Batch, family: _Family, name: str) -> None:
    """Table, maps and chains as they must be, whatever was there; elements are left as they are."""
    table, kind, length = family.table(name), family.address_type, family.length
    port_key = (nft.TYPE_INET_PROTO, nft.TYPE_INET_SERVICE)
    value = nft.concatenated(kind, nft.TYPE_INET_SERVICE)
    batch.add_table(table, "host ports of pods")
    batch.add_set(table, _ANY, nft.concatenated(*port_key), 8, data_type=value, data_length=length + 4)
    batch.add_set(
        table, _SPECIFIC, nft.concatenated(kind, *port_key), length + 8, data_type=value, data_length=length + 4
    )
    batch.add_set(table, _HAIRPINS, nft.concatenated(kind, kind), 2 * length)
    first, words = nft.REG32_00, length // 4
    load_port = [nft.meta(nft.META_L4PROTO, first), nft.payload(2, 2, 2, first + 1)]
    load_host_port = [
        nft.payload(1, family.destination, length, first),
        nft.meta(nft.META_L4PROTO, first + words),
        nft.payload(2, 2, 2, first + words + 1),
    ]
    translate = nft.dnat(family.number, first, first + words)
    batch.add_chain(table, "hostports")
    batch.flush_chain(table, "hostports")
    batch.add_rule(table, "hostports", *load_host_port, nft.lookup(_SPECIFIC, first, first), translate)
    batch.add_rule(table, "hostports", *load_port, nft.lookup(_ANY, first, first), translate)
    for chain, hook in (("prerouting", nft.HOOK_PREROUTING), ("output", nft.HOOK_OUTPUT)):
        batch.add_base_chain(table, chain, "nat", hook, nft.PRIORITY_DSTNAT)
        batch.flush_chain(table, chain)
        local = [nft.load_destination_type(), nft.compare(nft.ADDRESS_LOCAL)]
        batch.add_rule(table, chain, *local, nft.goto("hostports"))
    _ensure_masquerading(batch, family, table)


def _ensure_masquerading(batch: nft.Batch, family: _Family, table: nft.Table) -> None:
    length = family.length
    translated = [
        nft.load_conntrack_status(),
        nft.mask(struct.pack("=I", nft.CT_STATUS_DNAT)),
        nft.compare(bytes(4), equal=False),
    ]
    batch.add_base_chain(table, "masquerading", "nat", nft.HOOK_POSTROUTING, nft.PRIORITY_SRCNAT)
    batch.flush_chain(table, "masquerading")
    pair = [
        nft.payload(1, family.source, length, nft.REG32_00),
        nft.payload(1, family.destination, length, nft.REG32_00 + length // 4),
    ]
    batch.add_rule(table, "masquerading", *translated, *pair, nft.lookup(_HAIRPINS, nft.REG32_00), nft.masquerade())
    if family.version == 4:
        # To whom a pod with host ports would answer 127.0.0.1 is itself.
        loopback = [nft.payload(1, family.source, 1), nft.compare(b"\x7f")]
        batch.add_rule(table, "masquerading", *translated, *loopback, nft.masquerade())
