from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import images
from crio.base.errors import Cancelled, NotFound
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.credentials import Credentials
from crio.image.documents import digest_of, parse_document
from crio.image.errors import BadContent, CredentialsRefused, RegistryUnavailable
from crio.image.registries import Endpoint
from crio.image.registry.client import RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from crio.spec.oci_image import Manifest
from crio.wire import reference
from fault_proxy import Fault, FaultProxy, fault_proxy
from registry_server import PASSWORD, USER, RunningRegistry, make_certificate, registry

NAME = "team/app"
BLOB = bytes(range(256)) * 8192


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    layout = images.layout(str(directory / "layout"), layers=[images.layer({"blob": BLOB})])
    with registry(str(directory / "run")) as running:
        running.push(f"oci:{layout}:localhost/test:latest", f"{NAME}:1")
        yield running


@pytest.fixture
def proxy(plain: RunningRegistry) -> Iterator[FaultProxy]:
    with fault_proxy(plain.host) as running:
        yield running


def client(
    host: str,
    credentials: Credentials | None = None,
    *,
    insecure: bool = True,
    tls: TlsContexts | None = None,
    scope: Cancellation | None = None,
    read_timeout: float = 60.0,
    proxies: Proxies | None = None,
) -> RegistryClient:
    http = HttpClient(tls or TlsContexts([]), proxies or Proxies(), read_timeout=read_timeout)
    endpoint = Endpoint(reference.parse(f"{host}/{NAME}"), insecure, mirror=False)
    return RegistryClient(http, endpoint, credentials, scope or Cancellation())


def layer_of(registry_client: RegistryClient) -> tuple[Digest, int]:
    served = registry_client.manifest("1")
    manifest = parse_document(served.data, served.media_type, NAME)
    assert isinstance(manifest, Manifest)
    return Digest(manifest.layers[0].digest), manifest.layers[0].size


def read(registry_client: RegistryClient, digest: Digest, size: int | None, start: int = 0) -> bytes:
    return b"".join(registry_client.blob(digest, size, start=start))


# Real registries


def test_plain_http(plain: RunningRegistry) -> None:
    registry_client = client(plain.host)
    digest, size = layer_of(registry_client)
    data = read(registry_client, digest, size)
    assert digest_of(data) == digest
    assert read(registry_client, digest, size, start=100) == data[100:]
    assert read(registry_client, digest, None) == data
    with pytest.raises(NotFound, match="manifest 2"):
        registry_client.manifest("2")
    with pytest.raises(NotFound):
        read(registry_client, Digest("sha256:" + "0" * 64), None)


def test_plain_http_is_found_out_once(plain: RunningRegistry, tmp_path: Path) -> None:
    http = HttpClient(TlsContexts([]), Proxies(), read_timeout=60.0)
    endpoint = Endpoint(reference.parse(f"{plain.host}/{NAME}"), insecure=True, mirror=False)
    assert not http.is_plain(plain.host)
    RegistryClient(http, endpoint, None, Cancellation()).manifest("1")
    assert http.is_plain(plain.host)
    RegistryClient(http, endpoint, None, Cancellation()).manifest("1")
    gone = RegistryClient(http, Endpoint(reference.parse("127.0.0.1:1/a"), True, False), None, Cancellation())
    http.note_plain("127.0.0.1:1", plain=True)
    with pytest.raises(RegistryUnavailable):
        gone.manifest("1")
    assert not http.is_plain("127.0.0.1:1"), "the next pull looks again"
    with registry(str(tmp_path / "run"), tls=True) as running:
        secure = Endpoint(reference.parse(f"{running.host}/{NAME}"), insecure=True, mirror=False)
        with pytest.raises(NotFound):
            RegistryClient(http, secure, None, Cancellation()).manifest("1")
        assert not http.is_plain(running.host)


def test_plain_http_is_not_taken_for_secure(plain: RunningRegistry) -> None:
    with pytest.raises(RegistryUnavailable, match=r"RegistryUnavailable: .* by TLS"):
        client(plain.host, insecure=False).manifest("1")


def test_tls_and_passwords(tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"))
    with registry(str(tmp_path / "run"), tls=True, htpasswd=True) as running:
        running.push(f"oci:{layout}:localhost/test:latest", f"{NAME}:1")
        mine = Credentials(USER, PASSWORD)
        certificates = tmp_path / "certs.d" / running.host
        certificates.mkdir(parents=True)
        tls = TlsContexts([str(tmp_path / "certs.d")])
        with pytest.raises(RegistryUnavailable, match="not trusted"):
            client(running.host, mine, insecure=False, tls=tls).manifest("1")
        (certificates / "ca.crt").write_bytes(Path(running.ca).read_bytes())
        registry_client = client(running.host, mine, insecure=False, tls=tls)
        digest, size = layer_of(registry_client)
        assert digest_of(read(registry_client, digest, size)) == digest
        assert layer_of(client(running.host, mine)) == (digest, size)
        with pytest.raises(CredentialsRefused, match="needs credentials"):
            client(running.host).manifest("1")
        with pytest.raises(CredentialsRefused, match="user 'kubelet'") as caught:
            client(running.host, Credentials(USER, "wr0ng")).manifest("1")
        assert "wr0ng" not in str(caught.value)


# Faults


def test_cut_transfers_are_resumed(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(cut_after=100), Fault(cut_after=1000), Fault(cut_after=0)]
    assert digest_of(read(registry_client, digest, size)) == digest
    ranges = [request.headers.get("range", "") for request in proxy.seen if "/blobs/" in request.path]
    assert ranges == ["", "bytes=100-", "bytes=1100-", "bytes=1100-"]


def test_blobs_come_by_one_connection(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    for start in (0, 100, 0):
        read(registry_client, digest, size, start=start)
    asked = [request.connection for request in proxy.seen if "/team/" in request.path]
    assert len(asked) == 4
    assert len(set(asked)) == 1


def test_a_server_that_ignores_ranges_is_read_again(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(cut_after=1000), Fault(ignore_range=True)]
    assert digest_of(read(registry_client, digest, size)) == digest


def test_another_range_than_asked_for_is_refused(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    lie = Fault(status=206, headers={"Content-Range": "bytes 5-9/10"}, body=b"hello")
    proxy.faults["/blobs/"] = [Fault(cut_after=100), lie]
    with pytest.raises(RegistryUnavailable, match="another range"):
        read(registry_client, digest, size)


def test_endless_cuts_end(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(cut_after=0, times=100)]
    with pytest.raises(RegistryUnavailable):
        read(registry_client, digest, size)
    assert len(proxy.paths("/blobs/")) < 10


def test_wrong_lengths(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(extra_length=5)]
    with pytest.raises(BadContent, match=f"{size + 5} bytes and not {size}"):
        read(registry_client, digest, size)
    proxy.faults["/blobs/"] = [Fault(extra_length=-5)]
    with pytest.raises(BadContent, match=f"{size - 5} bytes and not {size}"):
        read(registry_client, digest, size)


def test_too_long_a_manifest(proxy: FaultProxy) -> None:
    proxy.faults["/manifests/"] = [Fault(status=200, body=b"x" * ((4 << 20) + 1))]
    with pytest.raises(BadContent, match="longer than"):
        client(proxy.host).manifest("1")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_passing_trouble_is_waited_out(proxy: FaultProxy, status: int) -> None:
    proxy.faults["/manifests/"] = [Fault(status=status, headers={"Retry-After": "0"}, times=2)]
    assert client(proxy.host).manifest("1").data
    assert len(proxy.paths("/manifests/")) == 3


def test_lasting_trouble_is_told(proxy: FaultProxy) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "out of\nsorts"}]}).encode()
    proxy.faults["/manifests/"] = [Fault(status=503, body=body, times=99)]
    with pytest.raises(RegistryUnavailable, match="answers 503: out of sorts"):
        client(proxy.host).manifest("1")
    assert len(proxy.paths("/manifests/")) == 3


def test_a_long_rate_limit_is_told_at_once(proxy: FaultProxy) -> None:
    proxy.faults["/manifests/"] = [Fault(status=429, headers={"Retry-After": "3600"}, times=99)]
    with pytest.raises(RegistryUnavailable, match="429"):
        client(proxy.host).manifest("1")
    assert len(proxy.paths("/manifests/")) == 1


@pytest.mark.parametrize(("status", "error"), [(403, CredentialsRefused), (404, NotFound), (400, RegistryUnavailable)])
def test_final_answers(proxy: FaultProxy, status: int, error: type[Exception]) -> None:
    proxy.faults["/manifests/"] = [Fault(status=status, body=b"not json", times=99)]
    with pytest.raises(error):
        client(proxy.host).manifest("1")
    assert len(proxy.paths("/manifests/")) == 1


def test_nobody_listens() -> None:
    with pytest.raises(RegistryUnavailable, match="connection refused"):
        client("127.0.0.1:1").manifest("1")


@pytest.mark.parametrize(("number", "lookups"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
def test_no_such_host(monkeypatch: pytest.MonkeyPatch, number: int, lookups: int) -> None:
    seen: list[object] = []

    def look_up(host: object, *_: object, **__: object) -> NoReturn:
        seen.append(host)
        raise socket.gaierror(number, "told so")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(RegistryUnavailable, match="cannot be resolved: told so"):
        client("registry.invalid", insecure=False).manifest("1")
    assert seen == ["registry.invalid"] * lookups


def test_a_stall_is_resumed(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host, read_timeout=1.0)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(piece=1000, hold_after=1000)]
    assert digest_of(read(registry_client, digest, size)) == digest
    ranges = [r.headers.get("range") for r in proxy.seen if "/blobs/" in r.path]
    assert ranges[0] is None
    assert "bytes=1000-" in ranges, "on a busy machine there may be another stall"


def test_cancel_wakes_a_reader(proxy: FaultProxy) -> None:
    scope = Cancellation("the test")
    registry_client = client(proxy.host, scope=scope, read_timeout=60)
    digest, size = layer_of(registry_client)
    proxy.faults["/blobs/"] = [Fault(piece=10, hold_after=10)]
    threading.Timer(0.2, scope.cancel, ["enough"]).start()
    with pytest.raises(Cancelled, match="cannot finish the test: enough"):
        read(registry_client, digest, size)


def test_cancel_ends_waiting(proxy: FaultProxy) -> None:
    scope = Cancellation()
    proxy.faults["/manifests/"] = [Fault(status=503, headers={"Retry-After": "50"}, times=9)]
    threading.Timer(0.1, scope.cancel, ["enough"]).start()
    with pytest.raises(Cancelled):
        client(proxy.host, scope=scope).manifest("1")


# Credentials and other hosts


BASIC = "Basic " + base64.b64encode(b"me:secret").decode()


def test_redirects_see_no_credentials(proxy: FaultProxy, plain: RunningRegistry) -> None:
    challenge = Fault(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with fault_proxy(plain.host) as elsewhere:
        registry_client = client(proxy.host, Credentials("me", "secret"))
        proxy.faults["/manifests/"] = [challenge]
        digest, size = layer_of(registry_client)
        proxy.faults["/blobs/"] = [
            Fault(status=307, headers={"Location": f"http://{elsewhere.host}/v2/{NAME}/blobs/{digest}?sig=1"}),
            Fault(status=302, headers={"Location": f"http://{elsewhere.host}/v2/{NAME}/blobs/{digest}?sig=2"}),
        ]
        elsewhere.faults["sig=1"] = [Fault(cut_after=50)]
        assert digest_of(read(registry_client, digest, size)) == digest
        assert [r.headers.get("authorization") for r in elsewhere.seen] == [None, None]
        assert [r.headers.get("range") for r in elsewhere.seen] == [None, "bytes=50-"]
        own = [r.headers.get("authorization") for r in proxy.seen if r.path != "/v2/"]
        assert own == [None, BASIC, BASIC, BASIC]


def test_redirects_end(proxy: FaultProxy) -> None:
    proxy.faults["/manifests/"] = [Fault(status=307, headers={"Location": "/v2/x/manifests/1"}, times=50)]
    with pytest.raises(RegistryUnavailable, match="redirects without end"):
        client(proxy.host).manifest("1")


def test_redirects_do_not_leave_tls(tmp_path: Path, plain: RunningRegistry) -> None:
    certificate = make_certificate(str(tmp_path))
    with fault_proxy(plain.host, certificate) as secure:
        directory = tmp_path / "certs.d" / secure.host
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(Path(certificate[0]).read_bytes())
        tls = TlsContexts([str(tmp_path / "certs.d")])
        secure.faults["/manifests/"] = [
            Fault(status=307, headers={"Location": f"http://{plain.host}/v2/{NAME}/manifests/1"})
        ]
        with pytest.raises(RegistryUnavailable, match="no TLS"):
            client(secure.host, insecure=False, tls=tls).manifest("1")


@pytest.mark.parametrize("location", ["ftp://x/y", "http://", "", "http://a b/", "http://x:99999/"])
def test_useless_redirects(proxy: FaultProxy, location: str) -> None:
    proxy.faults["/manifests/"] = [Fault(status=307, headers={"Location": location}, times=99)]
    with pytest.raises(RegistryUnavailable):
        client(proxy.host).manifest("1")


def test_foreign_layers_come_from_their_places_without_credentials(proxy: FaultProxy, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as elsewhere:
        registry_client = client(proxy.host, Credentials("me", "secret"))
        proxy.faults["/manifests/"] = [Fault(status=401, headers={"WWW-Authenticate": "Basic realm=x"})]
        digest, size = layer_of(registry_client)
        proxy.faults["/blobs/"] = [Fault(status=404)]
        urls = ("http://127.0.0.1:1/nowhere", f"http://{elsewhere.host}/v2/{NAME}/blobs/{digest}")
        assert digest_of(b"".join(registry_client.blob(digest, size, urls))) == digest
        assert [r.headers.get("authorization") for r in elsewhere.seen] == [None]


# Tokens


def bearer(host: str, extra: str = "") -> Fault:
    value = f'Bearer realm="http://{host}/token",service="it"{extra}'
    return Fault(status=401, headers={"WWW-Authenticate": value})


def token(text: str, key: str = "token") -> Fault:
    return Fault(status=200, body=json.dumps({key: text, "expires_in": 60}).encode())


def test_tokens(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host)]
        server.faults["/token"] = [token("abc")]
        registry_client = client(proxy.host, Credentials("me", "secret"))
        layer_of(registry_client)
        asked = server.seen[0]
        assert asked.path == "/token?service=it&scope=repository%3Ateam%2Fapp%3Apull&account=me"
        assert asked.headers["authorization"] == BASIC
        assert proxy.seen[-1].headers["authorization"] == "Bearer abc"


def test_anonymous_tokens_and_the_other_field(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host, ',scope="repository:other/name:pull"')]
        server.faults["/token"] = [token("abc", "access_token")]
        client(proxy.host).manifest("1")
        assert "authorization" not in server.seen[0].headers
        assert "scope=repository%3Aother%2Fname%3Apull" in server.seen[0].path


def test_a_registry_cannot_make_us_ask_for_more(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host, ',scope="repository:other/name:pull,push"')]
        server.faults["/token"] = [token("abc")]
        client(proxy.host).manifest("1")
        assert "scope=repository%3Ateam%2Fapp%3Apull" in server.seen[0].path


def test_an_expired_token_is_renewed(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/manifests/"] = [bearer(server.host)]
        proxy.faults["/blobs/"] = [bearer(server.host)]
        server.faults["/token"] = [token("one"), token("two")]
        registry_client = client(proxy.host)
        digest, size = layer_of(registry_client)
        assert digest_of(read(registry_client, digest, size)) == digest
        assert proxy.seen[-1].headers["authorization"] == "Bearer two"


def test_identity_tokens_are_exchanged(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host)]
        server.faults["/token"] = [token("abc", "access_token")]
        client(proxy.host, Credentials(identity_token="idt")).manifest("1")
        asked = server.seen[0]
        assert asked.method == "POST"
        assert b"grant_type=refresh_token" in asked.body
        assert b"refresh_token=idt" in asked.body
        assert proxy.seen[-1].headers["authorization"] == "Bearer abc"


def test_registry_tokens_are_sent_as_they_are(proxy: FaultProxy) -> None:
    registry_client = client(proxy.host, Credentials(registry_token="rt"))
    registry_client.manifest("1")
    assert proxy.seen[-1].headers["authorization"] == "Bearer rt"
    proxy.faults["/manifests/"] = [Fault(status=401, headers={"WWW-Authenticate": "Bearer realm=x"})]
    with pytest.raises(CredentialsRefused, match="token"):
        registry_client.manifest("1")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Fault(status=401), CredentialsRefused),
        (Fault(status=500, times=9), RegistryUnavailable),
        (Fault(status=200, body=b"no json", times=9), RegistryUnavailable),
        (Fault(status=200, body=b"{}", times=9), RegistryUnavailable),
        (Fault(status=200, body=b'{"token":"a\\r\\nX: y"}', times=9), RegistryUnavailable),
        (Fault(status=200, body=b'{"token":"' + b"a" * (2 << 20) + b'"}', times=9), BadContent),
    ],
)
def test_bad_token_servers(proxy: FaultProxy, answer: Fault, error: type[Exception]) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host, ""), bearer(server.host), bearer(server.host)]
        server.faults["/token"] = [answer]
        with pytest.raises(error):
            client(proxy.host, Credentials("me", "secret")).manifest("1")


def test_a_token_servers_rate_limit_is_heeded(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host, "") for _ in range(3)]
        server.faults["/token"] = [Fault(status=429, headers={"Retry-After": "3600"}, times=9)]
        with pytest.raises(RegistryUnavailable, match="429"):
            client(proxy.host, Credentials("me", "secret")).manifest("1")
        assert len(server.seen) == 1


def test_a_token_server_that_changes_nothing(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/v2/team"] = [bearer(server.host) for _ in range(9)]
        server.faults["/token"] = [token("same") for _ in range(9)]
        with pytest.raises(CredentialsRefused):
            client(proxy.host, Credentials("me", "secret")).manifest("1")
        assert len(proxy.paths("/manifests/")) <= 3


def test_many_threads_cause_one_exchange(proxy: FaultProxy) -> None:
    with fault_proxy() as server:
        proxy.faults["/manifests/"] = [bearer(server.host)]
        server.faults["/token"] = [token("abc")]
        registry_client = client(proxy.host)
        digest, size = layer_of(registry_client)
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(read(registry_client, digest, size))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [digest_of(data) for data in found] == [digest] * 5
        assert len(server.seen) == 1


# Proxies


def test_http_proxy(plain: RunningRegistry) -> None:
    # The exception for loopback addresses does not hold for a name.
    with fault_proxy(plain.host) as through:
        host = "registry.test:80"
        proxies = Proxies(http=f"http://u:p@{through.host}", https=f"http://{through.host}")
        through.faults["registry.test/v2/"] = [Fault(status=200, body=b"{}")]
        served = client(host, proxies=proxies).manifest("1")
        assert served.data == b"{}"
        assert through.seen[-1].path == f"http://registry.test/v2/{NAME}/manifests/1"
        assert through.seen[-1].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
