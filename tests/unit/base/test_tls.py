from __future__ import annotations

import asyncio
import os
import ssl
import stat
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.base.tls import ensure_certificate, follow, load_certificate, openssl_names, server_context, stamp


@pytest.fixture
async def pair(tmp_path: Path) -> tuple[str, str]:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    assert await ensure_certificate(cert, key)
    return cert, key


async def test_a_pair_is_made_once_and_the_key_is_secret(pair: tuple[str, str]) -> None:
    cert, key = pair
    before = stamp(cert, key)
    assert not await ensure_certificate(cert, key)
    assert stamp(cert, key) == before
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    os.unlink(key)
    assert not await ensure_certificate(cert, key)
    assert stamp(cert, key) != before


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Both sides in memory; the client's end of the finished handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


async def test_versions_and_cipher_suites(pair: tuple[str, str]) -> None:
    client = ssl.create_default_context(cafile=pair[0])
    assert handshake(server_context(*pair), client).version() == "TLSv1.3"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]
    connection = handshake(server_context(*pair, cipher_suites=suites), client)
    assert connection.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
    with pytest.raises(ssl.SSLError):
        handshake(server_context(*pair, min_version="VersionTLS13"), client)


async def test_clients_need_a_certificate_when_a_ca_is_named(pair: tuple[str, str]) -> None:
    server = server_context(*pair, client_ca=pair[0])
    client = ssl.create_default_context(cafile=pair[0])
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(server, client)
    client.load_cert_chain(*pair)
    assert handshake(server, client).version() == "TLSv1.2"


async def test_a_new_certificate_is_taken_over(pair: tuple[str, str], tmp_path: Path) -> None:
    server = server_context(*pair)
    cert, key = str(tmp_path / "2.pem"), str(tmp_path / "2.key")
    await ensure_certificate(cert, key)
    load_certificate(server, cert, key)
    assert handshake(server, ssl.create_default_context(cafile=cert)).version() == "TLSv1.3"


async def test_files_are_followed(pair: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    cert, key = pair
    server = server_context(cert, key)
    caplog.set_level("INFO")
    task = asyncio.create_task(follow(server, cert, key, interval=0.01))
    await asyncio.sleep(0)
    with open(key, "w") as file:
        file.write("damaged")
    await logged(caplog, "the old one stays in use")
    handshake(server, ssl.create_default_context(cafile=cert))
    os.unlink(cert)
    os.unlink(key)
    await ensure_certificate(cert, key)
    await logged(caplog, "was taken over")
    assert handshake(server, ssl.create_default_context(cafile=cert)).version() == "TLSv1.3"
    task.cancel()


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in caplog.text:
            await asyncio.sleep(0.01)


async def test_what_cannot_be_used(pair: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot use the certificate /none with the key"):
        server_context("/none", pair[1])
    with pytest.raises(InvalidArgument, match="cannot use the certificates of /none"):
        server_context(*pair, client_ca="/none")
    with pytest.raises(InvalidArgument, match='tls_min_version "VersionTLS11"'):
        server_context(*pair, min_version="VersionTLS11")
    with pytest.raises(InvalidArgument, match='cipher suite "TLS_RSA_WITH_RC4_128_SHA"'):
        openssl_names(["TLS_RSA_WITH_RC4_128_SHA"])
