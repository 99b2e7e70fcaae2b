"""JSON Web Encryption (RFC 7516) as ocicrypt writes it: JSON serialization, any number of recipients. Pure.

Only algorithms that ocicrypt's own readers accept are known; there is none that needs no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from hmac import compare_digest
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from crio.image.decryption.keys import PrivateKey, base64url

_MAX_RECIPIENTS = 100
_KEY_WRAP = {"ECDH-ES+A128KW": 16, "ECDH-ES+A192KW": 24, "ECDH-ES+A256KW": 32}
_GCM = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_CBC: dict[str, tuple[int, type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]]] = {
    "A128CBC-HS256": (16, hashes.SHA256),
    "A192CBC-HS384": (24, hashes.SHA384),
    "A256CBC-HS512": (32, hashes.SHA512),
}
_CURVES: dict[str, type[ec.SECP256R1] | type[ec.SECP384R1] | type[ec.SECP521R1]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}


class _Recipient(msgspec.Struct):
    header: dict[str, Any] | None = None
    encrypted_key: str = ""


class _Message(msgspec.Struct):
    """General and flattened serialization in one."""

    protected: str = ""
    unprotected: dict[str, Any] | None = None
    recipients: list[_Recipient] | None = None
    header: dict[str, Any] | None = None
    encrypted_key: str = ""
    aad: str | None = None
    iv: str = ""
    ciphertext: str = ""
    tag: str = ""


def decrypt(data: bytes, keys: Sequence[PrivateKey]) -> bytes | None:
    """The plain text, None if none of the keys opens it.

    Raises ValueError or RecursionError for what is no such message.
    """
    message = msgspec.json.decode(data, type=_Message)
    protected: dict[str, Any] = msgspec.json.decode(base64url(message.protected) or b"{}", type=dict[str, Any])
    if "crit" in protected or "zip" in protected:
        raise ValueError("it uses extensions that are not known")
    recipients = message.recipients or [_Recipient(message.header, message.encrypted_key)]
    if len(recipients) > _MAX_RECIPIENTS:
        raise ValueError(f"it has more than {_MAX_RECIPIENTS} recipients")
    for recipient in recipients:
        header = {**(recipient.header or {}), **(message.unprotected or {}), **protected}
        for key in keys:
            content_key = _unwrap(header, base64url(recipient.encrypted_key), key)
            plain = _open(message, header, content_key) if content_key is not None else None
            if plain is not None:
                return plain
    return None


def _unwrap(header: dict[str, Any], wrapped: bytes, key: PrivateKey) -> bytes | None:
    """The content's key, None if this is not the key for it."""
    algorithm = _text(header, "alg")
    try:
        if algorithm in ("RSA-OAEP", "RSA-OAEP-256") and isinstance(key, rsa.RSAPrivateKey):
            digest = hashes.SHA1() if algorithm == "RSA-OAEP" else hashes.SHA256()
            return key.decrypt(wrapped, OAEP(MGF1(digest), digest, None))
        if algorithm in _KEY_WRAP and isinstance(key, ec.EllipticCurvePrivateKey):
            return aes_key_unwrap(_agree(header, algorithm, key), wrapped)
    except (ValueError, InvalidUnwrap, msgspec.ValidationError):
        return None
    return None


def _text(header: dict[str, Any], name: str) -> str:
    value = header.get(name)
    return value if isinstance(value, str) else ""


def _agree(header: dict[str, Any], algorithm: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key that sender and recipient share (RFC 7518, 4.6). Raises ValueError."""
    public = msgspec.convert(header.get("epk"), dict[str, str])
    curve = _CURVES.get(public.get("crv", ""))
    if curve is None or curve.name != key.curve.name:
        raise ValueError("another curve")
    x, y = (int.from_bytes(base64url(public.get(name, "")), "big") for name in ("x", "y"))
    # The library refuses points that are not on the curve.
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, curve()).public_key())
    length = _KEY_WRAP[algorithm]
    parties = (base64url(_text(header, name)) for name in ("apu", "apv"))
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (algorithm.encode(), *parties))
    return ConcatKDFHash(hashes.SHA256(), length, info + (length * 8).to_bytes(4, "big")).derive(shared)


def _open(message: _Message, header: dict[str, Any], key: bytes) -> bytes | None:
    associated = (message.protected + (f".{message.aad}" if message.aad else "")).encode()
    iv, text, tag = base64url(message.iv), base64url(message.ciphertext), base64url(message.tag)
    algorithm = _text(header, "enc")
    if algorithm in _GCM:
        if len(key) != _GCM[algorithm] or len(tag) != 16:
            return None
        try:
            return AESGCM(key).decrypt(iv, text + tag, associated)
        except InvalidTag:
            return None
    if algorithm in _CBC:
        return _open_cbc(algorithm, key, iv, text, tag, associated)
    raise ValueError(f"its content is encrypted by {algorithm[:50]!r}, which is not known")


def _open_cbc(algorithm: str, key: bytes, iv: bytes, text: bytes, tag: bytes, associated: bytes) -> bytes | None:
    """RFC 7518, 5.2.2.2."""
    length, digest = _CBC[algorithm]
    if len(key) != 2 * length or len(tag) != length:
        return None
    authentication = hmac.HMAC(key[:length], digest())
    authentication.update(associated + iv + text + (len(associated) * 8).to_bytes(8, "big"))
    expected = authentication.finalize()[:length]
    if not compare_digest(expected, tag):
        return None
    decryptor = Cipher(algorithms.AES(key[length:]), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(text) + decryptor.finalize()) + unpadder.finalize()
