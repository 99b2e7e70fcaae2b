"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go programs understand them."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from crio.base.errors import InvalidArgument

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Proxy(msgspec.Struct, frozen=True):
    scheme: str
    """http, https (TLS to the proxy itself), or socks5 (RFC 1928; the proxy resolves names)."""
    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """For a request to an HTTP proxy."""
        if not self.user and not self.password:
            return {}
        pair = f"{self.user}:{self.password}"
        return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Proxies(msgspec.Struct, frozen=True):
    http: str = ""
    https: str = ""
    exceptions: tuple[str, ...] = ()

    def for_host(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a request, or None. Raises InvalidArgument if the environment's URL cannot be used."""
        url = self.https if scheme == "https" else self.http
        if not url or self._is_exception(host, port):
            return None
        return _parse_proxy(url)

    def _is_exception(self, host: str, port: int) -> bool:
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_matches(item, host.lower().rstrip("."), address, port) for item in self.exceptions)


def proxies_of(environ: Mapping[str, str]) -> Proxies:
    """The proxies that the environment names; lower-case names count as well."""

    def value(name: str) -> str:
        return environ.get(name) or environ.get(name.lower(), "")

    exceptions = tuple(item.strip().lower() for item in value("NO_PROXY").split(",") if item.strip())
    return Proxies(value("HTTP_PROXY"), value("HTTPS_PROXY"), exceptions)


def _matches(item: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    if item == "*":
        return True
    if address is not None and "/" in item:
        try:
            return address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    name, colon, number = item.rpartition(":") if item.count(":") == 1 or item.startswith("[") else (item, "", "")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        item = name
    item = item.strip("[]")
    if address is not None:
        return _address(item) == address
    if item.startswith("*."):
        item = item[1:]
    if item.startswith("."):
        return host.endswith(item)
    return host == item or host.endswith("." + item)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _parse_proxy(url: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    if parts.scheme not in _PORTS or not parts.hostname or not port:
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise InvalidArgument(
            f"cannot use proxy {shown}: HTTP_PROXY and HTTPS_PROXY take http, https and socks5 URLs with a host"
        )
    scheme = "socks5" if parts.scheme == "socks5h" else parts.scheme
    return Proxy(scheme, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))
