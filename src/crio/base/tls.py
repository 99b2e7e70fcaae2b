"""TLS for servers, as crio.conf describes it: certificate, key, client CA, lowest version, cipher suites."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Sequence

from crio.base.errors import InvalidArgument
from crio.base.files import write_atomic
from crio.base.process import run

log = logging.getLogger(__name__)

_VERSIONS = {"VersionTLS12": "TLSv1_2", "VersionTLS13": "TLSv1_3"}
_SELF_SIGNED_DAYS = 365

_OPENSSL_NAMES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
_OF_TLS13 = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})


def server_context(
    cert: str,
    key: str,
    *,
    client_ca: str = "",
    min_version: str = "VersionTLS12",
    cipher_suites: Sequence[str] = (),
    protocols: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """A context that serves with this certificate; with `client_ca`, only to clients whose certificate it signed.

    Raises InvalidArgument for files that cannot be used and for unknown names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if min_version not in _VERSIONS:
        raise InvalidArgument(f'cannot serve TLS with tls_min_version "{min_version}": use {" or ".join(_VERSIONS)}')
    context.minimum_version = ssl.TLSVersion[_VERSIONS[min_version]]
    context.set_alpn_protocols(list(protocols))
    if cipher_suites:
        context.set_ciphers(":".join(openssl_names(cipher_suites)))
    load_certificate(context, cert, key)
    if client_ca:
        try:
            context.load_verify_locations(cafile=client_ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgument(f"cannot use the certificates of {client_ca}: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Take a certificate over, also into a context in use: connections from then on get it. Raises InvalidArgument."""
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise InvalidArgument(f"cannot use the certificate {cert} with the key {key}: {reason}") from None


def openssl_names(cipher_suites: Sequence[str]) -> list[str]:
    """IANA's names of cipher suites as OpenSSL spells them. Those of TLS 1.3 are left out: they are always on."""
    names = []
    for name in cipher_suites:
        if name in _OF_TLS13:
            continue
        if name not in _OPENSSL_NAMES:
            raise InvalidArgument(f'cannot use the cipher suite "{name}": it is unknown or unsafe')
        names.append(_OPENSSL_NAMES[name])
    return names or ["@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"]


def stamp(*paths: str) -> tuple[tuple[int, int, int], ...]:
    """Changes when one of the files was written or replaced; a missing file has zeros."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


async def follow(context: ssl.SSLContext, cert: str, key: str, *, interval: float = 60.0) -> None:
    """Take the certificate over whenever its files change, until cancelled. One that cannot be used is logged once."""
    known = stamp(cert, key)
    while True:
        await asyncio.sleep(interval)
        now = stamp(cert, key)
        if now == known:
            continue
        known = now
        try:
            load_certificate(context, cert, key)
        except InvalidArgument as error:
            log.warning("%s; the old one stays in use", error.message)
        else:
            log.info("certificate %s has changed and was taken over", cert)


async def ensure_certificate(cert: str, key: str) -> bool:
    """Make a self-signed pair if neither file exists; whether it was made. Needs the openssl program.

    Raises ProcessFailed or OSError if it cannot be made.
    """
    if os.path.exists(cert) or os.path.exists(key):
        return False
    for path in (cert, key):
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    host = os.uname().nodename
    names = f"subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1,IP:::1"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += [
        "-days",
        str(_SELF_SIGNED_DAYS),
        "-subj",
        f"/CN={host[:64]}",
        "-addext",
        names,
        "-keyout",
        "-",
        "-out",
        "-",
    ]
    output = (await run(argv, timeout=30)).stdout
    begin = output.index(b"-----BEGIN CERTIFICATE-----")
    write_atomic(key, output[:begin], mode=0o600)
    write_atomic(cert, output[begin:], mode=0o644)
    return True
