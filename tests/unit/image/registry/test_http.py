from __future__ import annotations

from collections.abc import Iterator

import pytest

from crio.base.errors import Cancelled
from crio.image.cancellation import Cancellation
from crio.image.errors import BadContent, RegistryUnavailable
from crio.image.registry.http import HttpClient, parse_url
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from fault_proxy import Fault, FaultProxy, fault_proxy


@pytest.fixture
def server() -> Iterator[FaultProxy]:
    with fault_proxy() as running:
        yield running


@pytest.fixture
def http() -> Iterator[HttpClient]:
    client = HttpClient(TlsContexts([]), Proxies(), read_timeout=60)
    yield client
    client.close()


def get(http: HttpClient, server: FaultProxy, path: str = "/", limit: int = 100) -> tuple[int, bytes]:
    with http.request("GET", parse_url(f"http://{server.host}{path}"), {"X-Mine": "1"}, Cancellation()) as response:
        return response.status, response.read_all(limit)


@pytest.mark.parametrize(
    ("text", "again", "origin"),
    [
        ("https://a.b/c?d=e#f", "https://a.b/c?d=e", ("https", "a.b", 443)),
        ("http://[::1]:5000", "http://[::1]:5000/", ("http", "::1", 5000)),
        ("https://A.b:443/x", "https://a.b/x", ("https", "a.b", 443)),
    ],
)
def test_urls(text: str, again: str, origin: tuple[str, str, int]) -> None:
    url = parse_url(text)
    assert str(url) == again
    assert url.origin == origin


@pytest.mark.parametrize(
    "text", ["", "x", "ftp://a/b", "https:///x", "https://a/\r\nX: y", "https://a:0x/", "https://ä/"]
)
def test_useless_urls(text: str) -> None:
    with pytest.raises(RegistryUnavailable):
        parse_url(text)


def test_join() -> None:
    url = parse_url("https://a.b/v2/x?q=1")
    assert str(url.join("/y")) == "https://a.b/y"
    assert str(url.join("z?r=2")) == "https://a.b/v2/z?r=2"
    assert str(url.join("http://c/d")) == "http://c/d"


@pytest.mark.parametrize("location", ["http://[", "//[x]/y", "ftp://c/d", "https://c:x/"])
def test_useless_redirects(location: str) -> None:
    with pytest.raises(RegistryUnavailable, match="cannot use"):
        parse_url("https://a.b/v2/x").join(location)


def test_connections_are_used_again(http: HttpClient, server: FaultProxy) -> None:
    server.faults["/"] = [Fault(status=200, body=b"hello", times=3)]
    for _ in range(3):
        assert get(http, server) == (200, b"hello")
    assert len(http._idle) == 1
    assert len(next(iter(http._idle.values()))) == 1
    assert server.seen[0].headers["x-mine"] == "1"


def test_a_connection_that_the_server_closed_is_replaced(http: HttpClient, server: FaultProxy) -> None:
    server.faults["/"] = [Fault(status=200, body=b"hello")]
    get(http, server)
    (idle,) = http._idle.values()
    assert idle[0].raw.sock is not None
    idle[0].raw.sock.shutdown(2)
    server.faults["/"] = [Fault(status=200, body=b"again")]
    assert get(http, server) == (200, b"again")


def test_limits(http: HttpClient, server: FaultProxy) -> None:
    server.faults["/"] = [Fault(status=200, body=b"x" * 101)]
    with pytest.raises(BadContent, match="longer than 100"):
        get(http, server)
    server.faults["/"] = [Fault(status=200, body=b"x" * 50, cut_after=10)]
    with pytest.raises(RegistryUnavailable, match="too early"):
        get(http, server)


def test_no_http(http: HttpClient) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-nonsense\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = parse_url(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(RegistryUnavailable, match="not HTTP"):
            http.request("GET", url, {}, Cancellation())
        thread.join()


def test_cancelled_before_it_begins(http: HttpClient, server: FaultProxy) -> None:
    scope = Cancellation()
    scope.cancel("enough")
    with pytest.raises(Cancelled):
        http.request("GET", parse_url(f"http://{server.host}/"), {}, scope)
    assert server.seen == []
