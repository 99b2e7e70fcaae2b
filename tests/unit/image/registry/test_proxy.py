from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.image.registry.proxy import Proxies, proxies_of


def test_environment() -> None:
    assert proxies_of({}) == Proxies()
    found = proxies_of({"HTTP_PROXY": "http://a", "https_proxy": "b:1", "no_proxy": "X.com, ,10.0.0.0/8"})
    assert found == Proxies("http://a", "b:1", ("x.com", "10.0.0.0/8"))


def test_choice() -> None:
    proxies = Proxies("http://plain:3128", "u:p%40@secure:8080")
    chosen = proxies.for_host("http", "example.com", 80)
    assert chosen is not None
    assert (chosen.host, chosen.port, chosen.headers) == ("plain", 3128, {})
    chosen = proxies.for_host("https", "example.com", 443)
    assert chosen is not None
    assert (chosen.host, chosen.port) == ("secure", 8080)
    assert chosen.headers == {"Proxy-Authorization": "Basic dTpwQA=="}
    assert Proxies().for_host("https", "example.com", 443) is None


@pytest.mark.parametrize(
    ("exceptions", "host", "direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "notexample.com", False),
        (".example.com", "a.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*", "anything", True),
        ("example.com:5000", "example.com", True),
        ("example.com:5001", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("other.com", "localhost", True),
        ("other.com", "127.0.0.1", True),
        ("other.com", "::1", True),
        ("other.com", "Example.COM", False),
        ("example.com", "Example.COM.", True),
    ],
)
def test_exceptions(exceptions: str, host: str, direct: bool) -> None:
    proxies = proxies_of({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": exceptions})
    assert (proxies.for_host("https", host, 5000) is None) is direct


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("x", "http://x:80"),
        ("https://x", "https://x:443"),
        ("socks5://[fd00::1]", "socks5://[fd00::1]:1080"),
        ("socks5h://u:p@x:1", "socks5://x:1"),
    ],
)
def test_kinds(url: str, shown: str) -> None:
    assert str(Proxies(url).for_host("http", "example.com", 80)) == shown


@pytest.mark.parametrize("url", ["ftp://x:1", "socks4://x:1", "http://", "http://x:99999"])
def test_useless_proxies(url: str) -> None:
    with pytest.raises(InvalidArgument, match="proxy"):
        Proxies(url).for_host("http", "example.com", 80)
