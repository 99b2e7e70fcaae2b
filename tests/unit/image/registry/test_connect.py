"""The ways to a registry: every kind of proxy, with real connections."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crio.base.errors import Cancelled
from crio.image.cancellation import Cancellation
from crio.image.errors import RegistryUnavailable
from crio.image.registry.http import HttpClient, parse_url
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from fault_proxy import Fault, FaultProxy, fault_proxy
from forward_proxy import ForwardProxy, forward_proxy
from registry_server import free_port, make_certificate


class Bed:
    """A server with TLS and one without, named registry.test for the proxies, and clients that trust the first."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.certificate = make_certificate(str(directory))
        self._trusted = directory / "certs.d"
        self.secure = stack.enter_context(fault_proxy(certificate=self.certificate))
        self.plain = stack.enter_context(fault_proxy())
        self.trust("registry.test")

    def trust(self, authority: str) -> None:
        (self._trusted / authority).mkdir(parents=True)
        shutil.copy(self.certificate[0], self._trusted / authority / "ca.crt")

    def proxy(self, server: FaultProxy, *, tls: bool = False) -> ForwardProxy:
        proxy = self._stack.enter_context(forward_proxy(server.host, self.certificate if tls else None))
        if tls:
            self.trust(proxy.host)
        return proxy

    def client(self, url: str) -> HttpClient:
        client = HttpClient(TlsContexts([str(self._trusted)]), Proxies(url, url), read_timeout=30)
        self._stack.callback(client.close)
        return client


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with ExitStack() as stack:
        yield Bed(tmp_path, stack)


def get(client: HttpClient, url: str, limit: int = 4 << 20) -> bytes:
    with client.request("GET", parse_url(url), {}, Cancellation()) as response:
        assert response.status == 200
        return response.read_all(limit)


@pytest.mark.parametrize("tls", [False, True])
def test_https_through_an_http_proxy(bed: Bed, tls: bool) -> None:
    body = bytes(range(256)) * 8192
    bed.secure.faults["/"] = [Fault(status=200, body=body), Fault(status=200, body=b"again")]
    proxy = bed.proxy(bed.secure, tls=tls)
    client = bed.client(f"{'https' if tls else 'http'}://u:p%40@{proxy.host}")
    assert get(client, "https://registry.test/v2/") == body
    assert get(client, "https://registry.test/v2/") == b"again"
    assert proxy.asked == ["CONNECT registry.test:443 HTTP/1.1"], "the connection was not used again"
    assert proxy.authorization == ["Basic dTpwQA=="]
    assert {request.headers["host"] for request in bed.secure.seen} == {"registry.test"}
    assert not any("proxy-authorization" in request.headers for request in bed.secure.seen)


@pytest.mark.parametrize("tls", [False, True])
def test_plain_http_through_an_http_proxy(bed: Bed, tls: bool) -> None:
    proxy = bed.proxy(bed.plain, tls=tls)
    client = bed.client(f"{'https' if tls else 'http'}://{proxy.host}")
    assert get(client, "http://registry.test:5000/v2/") == b"GET http://registry.test:5000/v2/ HTTP/1.1"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("user", ["", "me"])
def test_socks(bed: Bed, scheme: str, user: str) -> None:
    bed.secure.faults["/"] = [Fault(status=200, body=b"secure")]
    bed.plain.faults["/"] = [Fault(status=200, body=b"plain")]
    for server, url, answer in (
        (bed.secure, "https://registry.test/v2/", b"secure"),
        (bed.plain, "http://registry.test:81/v2/", b"plain"),
    ):
        proxy = bed.proxy(server)
        proxy.user, proxy.password = user, "secret" if user else ""
        login = f"{user}:secret@" if user else ""
        assert get(bed.client(f"{scheme}://{login}{proxy.host}"), url) == answer
        assert proxy.asked == [f"registry.test {parse_url(url).port}"]


@pytest.mark.parametrize(("host", "asked"), [("192.0.2.1", "192.0.2.1 80"), ("[2001:db8::1]", "2001:db8::1 80")])
def test_socks_with_addresses(bed: Bed, host: str, asked: str) -> None:
    bed.plain.faults["/"] = [Fault(status=200, body=b"plain")]
    proxy = bed.proxy(bed.plain)
    assert get(bed.client(f"socks5://{proxy.host}"), f"http://{host}/") == b"plain"
    assert proxy.asked == [asked]


def test_a_body_that_is_cut_in_a_tunnel_is_noticed(bed: Bed) -> None:
    bed.secure.faults["/"] = [Fault(status=200, body=b"x" * 100_000, cut_after=70_000)]
    client = bed.client(f"https://{bed.proxy(bed.secure, tls=True).host}")
    with pytest.raises(RegistryUnavailable, match="too early"):
        get(client, "https://registry.test/")


def test_a_tunnel_is_cancelled_while_it_waits(bed: Bed) -> None:
    bed.secure.faults["/"] = [Fault(status=200, body=b"x" * 100_000, piece=1000, pause=0.2)]
    client = bed.client(f"https://{bed.proxy(bed.secure, tls=True).host}")
    scope = Cancellation()
    with client.request("GET", parse_url("https://registry.test/"), {}, scope) as response:
        threading.Timer(0.5, scope.cancel, ["enough"]).start()
        with pytest.raises(Cancelled):
            response.read_all(1 << 20)


def test_refusals_say_who_refused_and_why(bed: Bed) -> None:
    proxy = bed.proxy(bed.secure)
    proxy.status = "407 Proxy Authentication Required"
    with pytest.raises(RegistryUnavailable, match=f"registry.test through proxy http://{proxy.host}: it answers 407 P"):
        get(bed.client(f"http://{proxy.host}"), "https://registry.test/")
    proxy.socks_status = 2
    with pytest.raises(RegistryUnavailable, match=f"through proxy socks5://{proxy.host}: its rules do not allow it"):
        get(bed.client(f"socks5://{proxy.host}"), "https://registry.test/")
    proxy.user, proxy.password = "me", "secret"
    with pytest.raises(RegistryUnavailable, match="does not accept us without another authentication"):
        get(bed.client(f"socks5://{proxy.host}"), "https://registry.test/")
    with pytest.raises(RegistryUnavailable, match="does not accept its name and password"):
        get(bed.client(f"socks5://me:wrong@{proxy.host}"), "https://registry.test/")
    gone = f"127.0.0.1:{free_port()}"
    with pytest.raises(RegistryUnavailable, match=f"through proxy https://{gone}: connection refused"):
        get(bed.client(f"https://{gone}"), "https://registry.test/")


def test_what_is_no_proxy(bed: Bed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-nonsense\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RegistryUnavailable, match="it does not speak SOCKS 5"):
            get(bed.client(f"socks5://{host}"), "https://registry.test/")
        with pytest.raises(RegistryUnavailable, match="through proxy http"):
            get(bed.client(f"http://{host}"), "https://registry.test/")
        thread.join()


def test_a_proxy_must_be_trusted_even_if_the_registry_need_not(bed: Bed) -> None:
    with forward_proxy(bed.secure.host, bed.certificate) as proxy:
        client = bed.client(f"https://{proxy.host}")
        url = parse_url("https://registry.test/")
        with pytest.raises(RegistryUnavailable, match="a certificate is not trusted"):
            client.request("GET", url, {}, Cancellation(), insecure=True)
        bed.trust(proxy.host)
        bed.secure.faults["/"] = [Fault(status=200, body=b"secure")]
        with client.request("GET", url, {}, Cancellation(), insecure=True) as response:
            assert response.read_all(100) == b"secure"
