"""The portmap plug-in: ports of the host that lead to the pod, with nftables.

Tables, chains and comments are those of the CNI project's program in its nftables mode. Left to the program:
conditions, marks, masquerading of all sources, and an explicit iptables back end.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import Annotated, Any

import msgspec

from crio.base.errors import InvalidArgument
from crio.linux import conntrack, nft
from crio.linux.rtnetlink import Address
from crio.network.builtin import COMMON_FIELDS
from crio.network.localnet import enable_localnet
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import Result

log = logging.getLogger(__name__)

TABLE = "cni_hostport"
_FIELDS = COMMON_FIELDS | {"snat", "backend"}
_FAMILY = {4: nft.NFPROTO_IPV4, 6: nft.NFPROTO_IPV6}
_SOURCE, _DESTINATION = {4: 12, 6: 8}, {4: 16, 6: 24}
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_CHAINS = ("hostports", "hostip_hostports", "masquerading")

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class _Mapping(
    msgspec.Struct, rename={"host_port": "hostPort", "container_port": "containerPort", "host_ip": "hostIP"}
):
    host_port: Port
    container_port: Port
    protocol: str
    host_ip: str = ""


class _RuntimeConfig(msgspec.Struct, rename="camel"):
    port_mappings: list[_Mapping] = []


class _Settings(msgspec.Struct, rename="camel"):
    snat: bool | None = None
    backend: str | None = None
    runtime_config: _RuntimeConfig = msgspec.field(default_factory=_RuntimeConfig)


def knows(raw: dict[str, Any]) -> bool:
    return (
        _FIELDS.issuperset(raw) and raw.get("snat") in (None, True, False) and raw.get("backend") in (None, "nftables")
    )


def add(request: PluginRequest, timeout: float) -> bytes:
    previous = request.previous()
    if previous is None:
        raise PluginFailed(request, "it must come after a plug-in that gives the pod an address")
    settings = _settings(request)
    mappings = settings.runtime_config.port_mappings
    if mappings:
        for address in _pod_addresses(request, previous):
            _forward(request, settings, address)
            ports = {mapping.host_port for mapping in mappings if mapping.protocol.lower() == "udp"}
            if ports:
                _forget_udp(request, ports, address)
            if address.version == 4 and settings.snat is not False:
                enable_localnet(address)
    raw = request.document["prevResult"]
    return bytes(raw) if isinstance(raw, msgspec.Raw) else msgspec.json.encode(raw)


def delete(request: PluginRequest, timeout: float) -> None:
    if not _settings(request).runtime_config.port_mappings:
        return
    with nft.connect() as netlink:
        batch = nft.Batch()
        for family in _FAMILY.values():
            table = nft.Table(family, TABLE)
            for chain in _CHAINS:
                for rule in nft.rules(netlink, table, chain, containing=request.container_id.encode()):
                    if rule.comment == request.container_id:
                        batch.delete_rule(table, chain, rule.handle)
        batch.commit(netlink)


def check(request: PluginRequest, timeout: float) -> None:
    settings, previous = _settings(request), request.previous()
    if previous is None:
        raise PluginFailed(request, "CHECK needs the result of ADD")
    with nft.connect() as netlink:
        for address in _pod_addresses(request, previous):
            table = nft.Table(_FAMILY[address.version], TABLE)
            wanted = sum(_applies(mapping, address) for mapping in settings.runtime_config.port_mappings)
            found = nft.rules(netlink, table, "hostports", containing=request.container_id.encode())
            if sum(rule.comment == request.container_id for rule in found) < wanted:
                raise PluginFailed(request, f"rules for host ports to {address} are missing in table {TABLE}")


def collect_garbage(request: PluginRequest, valid: frozenset[tuple[str, str]], timeout: float) -> None:
    """Nothing: the rules do not tell of which network they are, so another one's pods would lose theirs."""


def _settings(request: PluginRequest) -> _Settings:
    try:
        settings = msgspec.convert(request.document, _Settings)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"a port mapping is wrong: {error}") from None
    for mapping in settings.runtime_config.port_mappings:
        if mapping.protocol.lower() not in _PROTOCOLS:
            raise InvalidArgument(f"a port mapping is wrong: protocol {mapping.protocol[:20]!r} is unknown")
        if mapping.host_ip:
            try:
                ipaddress.ip_address(mapping.host_ip)
            except ValueError as error:
                raise InvalidArgument(f"a port mapping is wrong: {error}") from None
    return settings


def _pod_addresses(request: PluginRequest, result: Result) -> list[Address]:
    """The first address of each family that is the pod's."""
    found: dict[int, Address] = {}
    for ip in result.ips:
        if ip.interface is not None and 0 <= ip.interface < len(result.interfaces):
            interface = result.interfaces[ip.interface]
            if interface.name != request.interface or not interface.sandbox:
                continue
        address = ipaddress.ip_address(ip.ip)
        found.setdefault(address.version, address)
    return list(found.values())


def _applies(mapping: _Mapping, address: Address) -> bool:
    return not mapping.host_ip or ipaddress.ip_address(mapping.host_ip).version == address.version


def _forward(request: PluginRequest, settings: _Settings, address: Address) -> None:
    """All rules for one address of the pod, in one transaction."""
    table = nft.Table(_FAMILY[address.version], TABLE)
    batch = nft.Batch()
    batch.add_table(table, "CNI portmap plugin")
    for chain in ("hostports", "hostip_hostports", "hostports_all"):
        batch.add_chain(table, chain)
    batch.flush_chain(table, "hostports_all")
    batch.add_rule(table, "hostports_all", nft.jump("hostip_hostports"))
    batch.add_rule(table, "hostports_all", nft.jump("hostports"))
    for chain, hook in (("prerouting", nft.HOOK_PREROUTING), ("output", nft.HOOK_OUTPUT)):
        batch.add_base_chain(table, chain, "nat", hook, nft.PRIORITY_DSTNAT)
        batch.flush_chain(table, chain)
        batch.add_rule(
            table, chain, nft.load_destination_type(), nft.compare(nft.ADDRESS_LOCAL), nft.jump("hostports_all")
        )
    for mapping in settings.runtime_config.port_mappings:
        if _applies(mapping, address):
            rule = _destination(mapping) + _translate(mapping, address)
            batch.add_rule(table, "hostports", *rule, comment=request.container_id)
    if settings.snat is not False:
        batch.add_base_chain(table, "masquerading", "nat", nft.HOOK_POSTROUTING, nft.PRIORITY_SRCNAT)
        sources = [address.packed] + ([bytes((127, 0, 0, 1))] if address.version == 4 else [])
        for source in sources:
            rule = _matches(address, source)
            batch.add_rule(table, "masquerading", *rule, nft.masquerade(), comment=request.container_id)
    with nft.connect() as netlink:
        batch.commit(netlink)


def _destination(mapping: _Mapping) -> list[bytes]:
    """Packets to the host's address of a mapping, unless that is any."""
    if not mapping.host_ip:
        return []
    host = ipaddress.ip_address(mapping.host_ip)
    if host.is_unspecified:
        return []
    return [nft.payload(1, _DESTINATION[host.version], len(host.packed)), nft.compare(host.packed)]


def _translate(mapping: _Mapping, address: Address) -> list[bytes]:
    protocol = _PROTOCOLS[mapping.protocol.lower()]
    return [
        nft.meta(nft.META_L4PROTO),
        nft.compare(bytes([protocol])),
        nft.payload(2, 2, 2),
        nft.compare(mapping.host_port.to_bytes(2, "big")),
        nft.immediate(address.packed, nft.REG_1),
        nft.immediate(mapping.container_port.to_bytes(2, "big"), nft.REG_2),
        nft.dnat(_FAMILY[address.version], nft.REG_1, nft.REG_2),
    ]


def _matches(address: Address, source: bytes) -> list[bytes]:
    version, length = address.version, len(address.packed)
    return [
        nft.payload(1, _SOURCE[version], length),
        nft.compare(source),
        nft.payload(1, _DESTINATION[version], length),
        nft.compare(address.packed),
    ]


def _forget_udp(request: PluginRequest, ports: set[int], address: Address) -> None:
    try:
        conntrack.forget_udp(ports, socket.AF_INET if address.version == 4 else socket.AF_INET6)
    except OSError as error:
        log.warning("cannot drop old UDP flows to ports of %s, they may miss it: %s", request.container_id, error)
