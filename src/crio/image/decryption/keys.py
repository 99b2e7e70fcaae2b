"""The private keys of a node: the files in decryption_keys_path. Blocking; for the image worker."""

from __future__ import annotations

import base64
import binascii
import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from crio.base.errors import CrioError
from crio.base.files import read_bounded

log = logging.getLogger(__name__)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_LIMIT = 1 << 20
_MAX_FILES = 1000
_CURVES: dict[str, type[ec.SECP256R1] | type[ec.SECP384R1] | type[ec.SECP521R1]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}


class NodeKey(NamedTuple):
    path: str
    key: PrivateKey


def load(directory: str) -> list[NodeKey]:
    """The RSA and EC keys in the directory and those below it: PEM, DER or JWK. Without the directory there are none.

    A file that is no private key (a certificate, say) is passed over, one that needs a password with a warning; links
    are not followed.
    """
    found: list[NodeKey] = []
    for path in _files(directory):
        try:
            key = parse(read_bounded(path, _LIMIT))
        except TypeError:
            log.warning("cannot use the decryption key %s: it is protected by a password", path)
            continue
        except (OSError, CrioError) as error:
            log.warning("cannot read the decryption key %s: %s", path, error)
            continue
        if key is not None:
            found.append(NodeKey(path, key))
    return found


def parse(data: bytes) -> PrivateKey | None:
    """The private key in a file's content, None if there is none. Raises TypeError if it needs a password."""
    key: object = None
    try:
        if b"-----BEGIN" in data:
            key = load_pem_private_key(data, None)
        elif data.lstrip()[:1] == b"{":
            key = _from_jwk(data)
        else:
            key = load_der_private_key(data, None)
    except (ValueError, UnsupportedAlgorithm, RecursionError):
        return None
    return key if isinstance(key, PrivateKey) else None


def _files(directory: str) -> Sequence[str]:
    found: list[str] = []
    for parent, directories, names in os.walk(directory):
        directories.sort()
        found += [path for name in sorted(names) if not os.path.islink(path := os.path.join(parent, name))]
        if len(found) > _MAX_FILES:
            log.warning("only the first %d files of %s are looked at for decryption keys", _MAX_FILES, directory)
            return found[:_MAX_FILES]
    return found


class _Jwk(msgspec.Struct):
    """RFC 7517 and 7518, the private forms."""

    kty: str
    crv: str = ""
    x: str = ""
    y: str = ""
    d: str = ""
    n: str = ""
    e: str = ""
    p: str = ""
    q: str = ""


def _from_jwk(data: bytes) -> PrivateKey | None:
    """Raises ValueError if it is none."""
    jwk = msgspec.json.decode(data, type=_Jwk)
    if not jwk.d:
        return None
    if jwk.kty == "EC" and jwk.crv in _CURVES:
        public = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), _CURVES[jwk.crv]())
        return ec.EllipticCurvePrivateNumbers(_number(jwk.d), public).private_key()
    if jwk.kty == "RSA":
        n, e, d = _number(jwk.n), _number(jwk.e), _number(jwk.d)
        p, q = (_number(jwk.p), _number(jwk.q)) if jwk.p and jwk.q else rsa.rsa_recover_prime_factors(n, e, d)
        numbers = rsa.RSAPrivateNumbers(
            p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
        )
        return numbers.private_key()
    return None


def _number(text: str) -> int:
    return int.from_bytes(base64url(text), "big")


def base64url(text: str) -> bytes:
    """Unpadded base64 for URLs (RFC 7515, 2). Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
