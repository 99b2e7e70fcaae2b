"""Addresses from ranges, one file per address in use: the state of the host-local plug-in, shared with its program.

DATADIR/NETWORK/ADDRESS holds the container id and interface of its user, last_reserved_ip.N where the search in range
set N goes on, and `lock` is locked (flock) while the directory is read or changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from crio.base.errors import ResourceExhausted
from crio.base.files import read_bounded
from crio.linux.rtnetlink import Address, Prefix
from crio.network.plugin import PluginFailed, PluginRequest
from crio.spec.cni import Dns, IpConfig, Result, Route

DATA_DIRECTORY = "/var/lib/cni/networks"
MAX_LEASE = 4096
MAX_RESOLV_CONF = 1 << 20

_FIELDS = frozenset(
    ("type", "routes", "dataDir", "resolvConf", "ranges", "subnet", "rangeStart", "rangeEnd", "gateway")
)
_RANGE_FIELDS = frozenset(("subnet", "rangeStart", "rangeEnd", "gateway"))
_ROUTE_FIELDS = frozenset(("dst", "gw"))
_LOCK_POLL = 0.002


class Range(msgspec.Struct, frozen=True):
    """Addresses `start` to `end` of `subnet`, both inclusive, without `gateway`."""

    subnet: Prefix
    start: Address
    end: Address
    gateway: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.subnet.version and int(self.start) <= int(address) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


RangeSet = tuple[Range, ...]
Owner = tuple[str, str]
"""Container id and interface."""


class Settings(msgspec.Struct, frozen=True):
    directory: str
    range_sets: tuple[RangeSet, ...]
    routes: tuple[Route, ...]
    resolv_conf: str


def knows(ipam: dict[str, Any]) -> bool:
    """Whether every field of the `ipam` section is one that is followed here."""
    if not _FIELDS.issuperset(ipam):
        return False
    routes, sets = ipam.get("routes") or [], ipam.get("ranges") or []
    if not isinstance(routes, list) or not isinstance(sets, list) or not all(isinstance(part, list) for part in sets):
        return False
    ranges = [entry for part in sets for entry in part]
    return all(isinstance(route, dict) and _ROUTE_FIELDS.issuperset(route) for route in routes) and all(
        isinstance(entry, dict) and _RANGE_FIELDS.issuperset(entry) for entry in ranges
    )


def allocate(request: PluginRequest, timeout: float) -> Result:
    """Reserve one address of each range set. Raises PluginFailed, and then none is reserved."""
    settings = _settings(request)
    result = Result(request.version, routes=list(settings.routes), dns=_dns(settings.resolv_conf))
    with _locked(request, settings.directory, timeout):
        mine = _leases_of(settings.directory, request.container_id, request.interface)
        try:
            for number, ranges in enumerate(settings.range_sets):
                for name in mine:
                    if any(ipaddress.ip_address(name) in one for one in ranges):
                        reason = f"{name} is in use by {request.container_id} already"
                        raise PluginFailed(request, f"cannot reserve an address twice: {reason}")
                address, chosen = _reserve(request, settings.directory, number, ranges)
                result.ips.append(IpConfig(f"{address}/{chosen.subnet.prefixlen}", None, str(chosen.gateway)))
        except BaseException:
            for ip in result.ips:
                os.unlink(os.path.join(settings.directory, ip.ip))
            raise
    return result


def release(request: PluginRequest, timeout: float) -> None:
    """Release every address of the container's interface; fine if it has none."""
    directory = _directory(request)
    if not os.path.isdir(directory):
        return
    with _locked(request, directory, timeout):
        mine = _leases_of(directory, request.container_id, request.interface)
        if not mine:
            # A lease must not be missed because a file was replaced between two ticks of the clock.
            _seen.pop(directory, None)
            mine = _leases_of(directory, request.container_id, request.interface)
        for name in mine:
            os.unlink(os.path.join(directory, name))


def check(request: PluginRequest, timeout: float) -> None:
    """Raises PluginFailed if the container's interface has no address reserved."""
    directory = _directory(request)
    with _locked(request, directory, timeout):
        if not _leases_of(directory, request.container_id, request.interface):
            raise PluginFailed(request, f"{request.container_id} has no address in {directory}")


def collect_garbage(request: PluginRequest, valid: frozenset[tuple[str, str]], timeout: float) -> None:
    """Release the addresses whose user is not in `valid`.

    A lease without text is that of an allocation that was killed, or cut off by a power failure: every allocation
    writes under the lock.
    """
    directory = _directory(request)
    if not os.path.isdir(directory):
        return
    with _locked(request, directory, timeout):
        for name, owner in _leases(directory):
            if owner not in valid and (owner[1] or not any(owner[0] == entry[0] for entry in valid)):
                os.unlink(os.path.join(directory, name))


# Configuration


def _directory(request: PluginRequest) -> str:
    """Where the network's leases are. Releasing one needs nothing else, however wrong the ranges are by now."""
    ipam: dict[str, Any] = request.document.get("ipam") or {}
    return os.path.join(ipam.get("dataDir") or DATA_DIRECTORY, request.network)


def _settings(request: PluginRequest) -> Settings:
    document = request.document
    ipam: dict[str, Any] = document.get("ipam") or {}
    sets: list[Any] = [*(document.get("runtimeConfig") or {}).get("ipRanges", ())]
    if ipam.get("subnet"):
        sets.append([{key: ipam[key] for key in _RANGE_FIELDS if key in ipam}])
    sets += ipam.get("ranges") or ()
    if not sets:
        raise PluginFailed(request, "its configuration has no range of addresses")
    try:
        range_sets = tuple(_range_set(entries) for entries in sets)
        _refuse_overlaps([part for ranges in range_sets for part in ranges])
        routes = tuple(
            Route(str(_prefix(route["dst"])), route.get("gw") or None) for route in (ipam.get("routes") or ())
        )
    except (ValueError, TypeError, KeyError) as error:
        raise PluginFailed(request, f"its ranges of addresses or routes are wrong: {error}") from None
    return Settings(_directory(request), range_sets, routes, ipam.get("resolvConf") or "")


def _prefix(text: str) -> Prefix:
    return ipaddress.ip_network(text, strict=False)


def _range_set(entries: list[dict[str, str]]) -> RangeSet:
    ranges = tuple(_range(entry) for entry in entries)
    if not ranges:
        raise ValueError("a range set is empty")
    if len({part.subnet.version for part in ranges}) != 1:
        raise ValueError("a range set mixes IPv4 and IPv6")
    return ranges


def _range(entry: dict[str, str]) -> Range:
    subnet = ipaddress.ip_network(entry["subnet"])
    if subnet.max_prefixlen - subnet.prefixlen < 2:
        raise ValueError(f"{subnet} is too small to take addresses from")
    first = subnet.network_address + 1
    # IPv4 keeps its last address for broadcast.
    last = subnet.broadcast_address - (1 if subnet.version == 4 else 0)
    start = ipaddress.ip_address(entry["rangeStart"]) if entry.get("rangeStart") else first
    end = ipaddress.ip_address(entry["rangeEnd"]) if entry.get("rangeEnd") else last
    for name, address in (("rangeStart", start), ("rangeEnd", end)):
        if address not in subnet:
            raise ValueError(f"{name} {address} is not in {subnet}")
    if int(start) > int(end):
        raise ValueError(f"rangeEnd {end} comes before rangeStart {start}")
    gateway = ipaddress.ip_address(entry["gateway"]) if entry.get("gateway") else first
    return Range(subnet, start, end, gateway)


def _refuse_overlaps(ranges: list[Range]) -> None:
    for index, one in enumerate(ranges):
        for other in ranges[index + 1 :]:
            if one.start in other or one.end in other or other.start in one:
                raise ValueError(f"{one} and {other} overlap")


def _dns(path: str) -> Dns:
    dns = Dns()
    if not path:
        return dns
    for line in read_bounded(path, MAX_RESOLV_CONF).decode("utf-8", "replace").splitlines():
        fields = line.split()
        if len(fields) < 2 or fields[0][0] in "#;":
            continue
        if fields[0] == "nameserver":
            dns.nameservers = [*dns.nameservers, fields[1]]
        elif fields[0] == "domain":
            dns.domain = fields[1]
        elif fields[0] == "search":
            dns.search = [*dns.search, *fields[1:]]
        elif fields[0] == "options":
            dns.options = [*dns.options, *fields[1:]]
    return dns


# Leases


@contextlib.contextmanager
def _locked(request: PluginRequest, directory: str, timeout: float) -> Iterator[None]:
    os.makedirs(directory, 0o755, exist_ok=True)
    deadline = time.monotonic() + timeout
    fd = os.open(os.path.join(directory, "lock"), os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o750)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PluginFailed(
                        request, f"{directory}/lock is held by another program for {timeout:g} s"
                    ) from None
                time.sleep(_LOCK_POLL)
        yield
    finally:
        os.close(fd)


def _read_lease(path: str) -> Owner | None:
    """Container id and interface of a lease, ("", "") for one without text, None if it is not there or no lease."""
    try:
        text = read_bounded(path, MAX_LEASE).decode("utf-8", "replace").strip()
    except (OSError, ResourceExhausted):
        return None
    container, _, interface = text.partition("\r\n")
    return container, interface


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


_seen: dict[str, dict[str, tuple[int, int, Owner]]] = {}
"""Leases that were read before, by directory and address, with inode and change time of the file: reading hundreds of
them anew for each pod would cost more than the rest of its network."""


def _leases(directory: str) -> Iterator[tuple[str, Owner]]:
    """The addresses in use and by whom. Only under the lock."""
    before, now = _seen.get(directory, {}), {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name == "lock" or entry.name.startswith("last_reserved_ip."):
                continue
            state = entry.stat(follow_symlinks=False)
            known = before.get(entry.name)
            if known is None or known[:2] != (state.st_ino, state.st_ctime_ns):
                owner = _read_lease(entry.path) if _is_address(entry.name) else None
                if owner is None:
                    continue
                known = (state.st_ino, state.st_ctime_ns, owner)
            now[entry.name] = known
    _seen[directory] = now
    return ((name, known[2]) for name, known in now.items())


def _leases_of(directory: str, container_id: str, interface: str) -> list[str]:
    """The addresses of a container's interface, or if there is none those that old versions noted for its id alone."""
    found = list(_leases(directory))
    for wanted in ((container_id, interface), (container_id, "")):
        mine = [name for name, owner in found if owner == wanted]
        confirmed = [name for name in mine if _read_lease(os.path.join(directory, name)) == wanted]
        if confirmed:
            return confirmed
    return []


def _reserve(request: PluginRequest, directory: str, number: int, ranges: RangeSet) -> tuple[Address, Range]:
    """Take the next free address after the one taken last, going round the whole range set once."""
    marker = os.path.join(directory, f"last_reserved_ip.{number}")
    text = f"{request.container_id.strip()}\r\n{request.interface}".encode()
    taken = set(os.listdir(directory))
    for address, chosen in _candidates(ranges, _last_reserved(marker)):
        if str(address) in taken:
            continue
        path = os.path.join(directory, str(address))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            os.write(fd, text)
            _write(marker, str(address).encode())
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        return address, chosen
    raise PluginFailed(request, f"no address is free in {', '.join(map(str, ranges))} (leases are in {directory})")


def _candidates(ranges: RangeSet, last: Address | None) -> Iterator[tuple[Address, Range]]:
    """Every address once, from the one after `last` on; the gateways are left out."""
    first = next((index for index, part in enumerate(ranges) if last is not None and last in part), None)
    spans: list[tuple[Range, int, int]] = []
    if first is None or last is None:
        spans = [(part, int(part.start), int(part.end)) for part in ranges]
    else:
        around = [*ranges[first + 1 :], *ranges[:first]]
        spans.append((ranges[first], int(last) + 1, int(ranges[first].end)))
        spans += [(part, int(part.start), int(part.end)) for part in around]
        spans.append((ranges[first], int(ranges[first].start), int(last)))
    for part, start, end in spans:
        for number in range(start, end + 1):
            address = part.start + (number - int(part.start))
            if address != part.gateway:
                yield address, part


def _last_reserved(marker: str) -> Address | None:
    try:
        return ipaddress.ip_address(read_bounded(marker, MAX_LEASE).decode().strip())
    except (OSError, ValueError):
        return None


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
