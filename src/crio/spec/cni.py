"""CNI: network configuration, results and errors of the specification's versions 0.1.0 to 1.1.0, as values.

What plug-ins are given is kept as the raw JSON objects of the configuration file, because each plug-in has fields of
its own; the structs here hold what a runtime must know (https://www.cni.dev/docs/spec/).
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.jsontext import UNREADABLE
from crio.base.regex import regex

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Every released version of the specification, oldest first."""

MAX_CONFIG = 1 << 20
"""Bytes of a configuration file at most."""

DEFAULT_VERSION = "0.1.0"
"""What an absent `cniVersion` means."""

_NAME = regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_PLUGIN_TYPE = regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,127}")


class PluginConfig(msgspec.Struct, frozen=True):
    """One plug-in of a list: its type, the capabilities it accepts, and all of its JSON object."""

    type: str
    capabilities: frozenset[str]
    raw: dict[str, Any]


class NetworkConfig(msgspec.Struct, frozen=True):
    """A named chain of plug-ins. `raw` is the text it was parsed from, or one that parses to the same."""

    name: str
    version: str
    plugins: tuple[PluginConfig, ...]
    raw: bytes
    disable_check: bool = False
    disable_gc: bool = False

    def at_least(self, version: str) -> bool:
        """Whether the configuration's version has what `version` of the specification brought."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)


class Dns(msgspec.Struct, omit_defaults=True):
    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class Route(msgspec.Struct, omit_defaults=True):
    """A route to `dst` in prefix notation. Fields after `gw` came with 1.1.0."""

    dst: str
    gw: str | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Interface(msgspec.Struct, omit_defaults=True, rename={"socket_path": "socketPath", "pci_id": "pciID"}):
    """A network interface; one on the host has an empty `sandbox`. `mtu` and what follows came with 1.1.0."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""


class IpConfig(msgspec.Struct, omit_defaults=True):
    """An address in prefix notation, and the interface (index into `Result.interfaces`) that has it."""

    address: str
    interface: int | None = None
    gateway: str | None = None

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]


class Result(msgspec.Struct, omit_defaults=True, rename={"version": "cniVersion"}):
    """What an ADD made, in the form of 1.0.0 and later whatever version it was read from."""

    version: str
    interfaces: list[Interface] = []
    ips: list[IpConfig] = []
    routes: list[Route] = []
    dns: Dns = msgspec.field(default_factory=Dns)


class ErrorResult(msgspec.Struct):
    """What a plug-in prints when it fails."""

    code: int = 999
    msg: str = ""
    details: str = ""

    def sentence(self) -> str:
        """The plug-in's own words on one line, at most 2 KiB."""
        text = "; ".join(part for part in (self.msg, self.details) if part) or f"error code {self.code}"
        return " ".join(text.split())[:2048]


TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51


class _OldRoute(msgspec.Struct):
    dst: str
    gw: str | None = None


class _OldIp(msgspec.Struct):
    """0.1.0 and 0.2.0: one address per family."""

    ip: str
    gateway: str | None = None
    routes: list[_OldRoute] | None = None


class _OldResult(msgspec.Struct):
    ip4: _OldIp | None = None
    ip6: _OldIp | None = None
    dns: Dns | None = None


class _AnyIp(msgspec.Struct):
    address: str
    interface: int | None = None
    gateway: str | None = None


class _AnyResult(msgspec.Struct):
    """0.3.0 to 1.1.0; Go programs write null for an absent list."""

    interfaces: list[Interface] | None = None
    ips: list[_AnyIp] | None = None
    routes: list[Route] | None = None
    dns: Dns | None = None


class _Version(msgspec.Struct):
    version: str = msgspec.field(name="cniVersion", default="")


def check_version(version: str) -> str:
    """`version`, or 0.1.0 for "". Raises InvalidArgument if it is none that was released."""
    version = version or DEFAULT_VERSION
    if version not in VERSIONS:
        raise InvalidArgument(f"cannot use cniVersion {version[:40]!r}: known are {', '.join(VERSIONS)}")
    return version


def check_plugin_type(name: str) -> str:
    """`name` if it is a plain file name, so that no configuration runs a program elsewhere (CVE-2021-20206)."""
    if not _PLUGIN_TYPE.fullmatch(name):
        raise InvalidArgument(f"cannot use plug-in type {name[:80]!r}: it must be a plain name without a path")
    return name


def parse_network(data: bytes, default_name: str) -> NetworkConfig:
    """The network of a .conflist text, or of a .conf or .json text, which is one plug-in or such a list.

    `default_name` stands in for an absent name. Raises InvalidArgument with the reason.
    """
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE as error:
        raise InvalidArgument(f"cannot parse it: {error}") from None
    if "plugins" not in document:
        return _single(document, default_name)
    entries = document["plugins"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidArgument("cannot parse it: plugins must be a list of objects that is not empty")
    return NetworkConfig(
        name=_network_name(document, default_name),
        version=_best_version(document),
        plugins=tuple(_plugin(entry) for entry in entries),
        raw=data,
        disable_check=_boolean(document, "disableCheck"),
        disable_gc=_boolean(document, "disableGC"),
    )


def _single(document: dict[str, Any], default_name: str) -> NetworkConfig:
    if "type" not in document:
        raise InvalidArgument("cannot parse it: it has neither a list of plugins nor the type of one")
    plugin = _plugin(document)
    name, version = _network_name(document, default_name), _best_version(document)
    listed = msgspec.json.encode({"cniVersion": version, "name": name, "plugins": [document]})
    return NetworkConfig(name, version, (plugin,), listed)


def _plugin(entry: dict[str, Any]) -> PluginConfig:
    kind, capabilities = entry.get("type"), entry.get("capabilities") or {}
    if not isinstance(kind, str):
        raise InvalidArgument("cannot parse it: a plug-in has no type")
    if not isinstance(capabilities, dict):
        raise InvalidArgument(f"cannot parse it: capabilities of plug-in {kind[:80]} must be an object")
    accepted = frozenset(name for name, wanted in capabilities.items() if wanted is True)
    return PluginConfig(check_plugin_type(kind), accepted, entry)


def _network_name(document: dict[str, Any], default: str) -> str:
    name = document.get("name") or default
    if not isinstance(name, str) or len(name) > 128 or not _NAME.fullmatch(name):
        raise InvalidArgument(f"cannot use network name {str(name)[:80]!r}: letters, digits, '_', '.' and '-' only")
    return name


def _best_version(document: dict[str, Any]) -> str:
    """The newest known version of `cniVersion` and `cniVersions` (1.1.0)."""
    single, several = document.get("cniVersion", ""), document.get("cniVersions", [])
    if not isinstance(single, str) or not isinstance(several, list):
        raise InvalidArgument("cannot parse it: cniVersion must be a string and cniVersions a list of strings")
    known = [version for version in (*several, single) if version in VERSIONS]
    return max(known, key=VERSIONS.index) if known else check_version(single)


def _boolean(document: dict[str, Any], key: str) -> bool:
    """Strings are what early drafts of these fields had, and libraries still accept."""
    value = document.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InvalidArgument(f"cannot parse it: {key} must be true or false")
    return value


def parse_result(data: bytes | msgspec.Raw, default_version: str) -> Result:
    """The result that a plug-in printed, in any version. Raises InvalidArgument with the reason."""
    try:
        version = check_version(msgspec.json.decode(data, type=_Version).version or default_version)
        if VERSIONS.index(version) < VERSIONS.index("0.3.0"):
            result = _from_old(version, msgspec.json.decode(data, type=_OldResult))
        else:
            read = msgspec.json.decode(data, type=_AnyResult)
            ips = [IpConfig(ip.address, ip.interface, ip.gateway) for ip in read.ips or ()]
            result = Result(version, read.interfaces or [], ips, read.routes or [], read.dns or Dns())
        for found in result.ips:
            ipaddress.ip_interface(found.address)
    except (*UNREADABLE, ValueError) as error:
        raise InvalidArgument(f"cannot read the result: {error}") from None
    return result


def _from_old(version: str, old: _OldResult) -> Result:
    result = Result(version, dns=old.dns or Dns())
    for ip in (old.ip4, old.ip6):
        if ip is not None:
            result.ips.append(IpConfig(ip.ip, None, ip.gateway))
            result.routes.extend(Route(route.dst, route.gw) for route in ip.routes or ())
    return result


def encode_result(result: Result, version: str) -> bytes:
    """The result as JSON in the form of `version`; what that form has no place for is left out."""
    at = VERSIONS.index(check_version(version))
    if at < VERSIONS.index("0.3.0"):
        return msgspec.json.encode(_to_old(result, version))
    document: dict[str, Any] = msgspec.to_builtins(result)
    document["cniVersion"] = version
    document.setdefault("dns", {})
    if at < VERSIONS.index("1.0.0"):
        for ip in document.get("ips", ()):
            ip["version"] = "6" if ":" in ip["address"] else "4"
    if at < VERSIONS.index("1.1.0"):
        for interface in document.get("interfaces", ()):
            for key in ("mtu", "socketPath", "pciID"):
                interface.pop(key, None)
        for route in document.get("routes", ()):
            for key in ("mtu", "advmss", "priority", "table", "scope"):
                route.pop(key, None)
    return msgspec.json.encode(document)


def _to_old(result: Result, version: str) -> dict[str, Any]:
    document: dict[str, Any] = {"cniVersion": version, "dns": msgspec.to_builtins(result.dns)}
    for ip in result.ips:
        key, six = ("ip6", True) if ":" in ip.address else ("ip4", False)
        if key in document:
            continue
        routes = [{"dst": r.dst, **({"gw": r.gw} if r.gw else {})} for r in result.routes if (":" in r.dst) == six]
        document[key] = {"ip": ip.address, **({"gateway": ip.gateway} if ip.gateway else {}), "routes": routes}
    return document
