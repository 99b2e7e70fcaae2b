"""PKCS #7 enveloped data (RFC 5652, 6) as ocicrypt writes it: RSA recipients, content under AES-GCM or AES-CBC. Pure.

ocicrypt puts GCM into the envelope in a way of its own: the tag follows the ciphertext, and the parameters are a nonce
and the tag's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crio.image import der
from crio.image.decryption.keys import PrivateKey

_ENVELOPED = "1.2.840.113549.1.7.3"
_RSA = "1.2.840.113549.1.1.1"
_RSA_OAEP = "1.2.840.113549.1.1.7"
_GCM = {"2.16.840.1.101.3.4.1.6": 16, "2.16.840.1.101.3.4.1.46": 32}
_CBC = {"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.42": 32}
_CONTEXT_0, _CONTEXT_0_CONSTRUCTED, _CONTEXT_4, _PRIMITIVE_SEQUENCE = 0x80, 0xA0, 0x84, 0x10
_MAX_RECIPIENTS = 100


class _Envelope(NamedTuple):
    wrapped_keys: list[tuple[str, bytes]]
    """Algorithm and encrypted key of each recipient."""
    algorithm: str
    parameters: der.Element
    content: bytes


def decrypt(data: bytes, keys: Sequence[PrivateKey]) -> bytes | None:
    """The plain text, None if none of the keys opens it. Raises ValueError for what is no such message."""
    envelope = _read(data)
    if len(envelope.wrapped_keys) > _MAX_RECIPIENTS:
        raise ValueError(f"it has more than {_MAX_RECIPIENTS} recipients")
    if envelope.algorithm not in _GCM and envelope.algorithm not in _CBC:
        raise ValueError(f"its content is encrypted by {envelope.algorithm}, which is not known")
    for algorithm, wrapped in envelope.wrapped_keys:
        for key in keys:
            content_key = _unwrap(algorithm, wrapped, key)
            plain = _open(envelope, content_key) if content_key is not None else None
            if plain is not None:
                return plain
    return None


def _unwrap(algorithm: str, wrapped: bytes, key: PrivateKey) -> bytes | None:
    if not isinstance(key, rsa.RSAPrivateKey):
        return None
    try:
        if algorithm == _RSA:
            return key.decrypt(wrapped, PKCS1v15())
        if algorithm == _RSA_OAEP:
            return key.decrypt(wrapped, OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None))
    except ValueError:
        pass
    return None


def _open(envelope: _Envelope, key: bytes) -> bytes | None:
    """None if the key is not that of the content; a wrong RSA key may yield one of any length (RFC 8017, 7.2.2)."""
    try:
        if (size := _GCM.get(envelope.algorithm)) is not None:
            return (
                AESGCM(key).decrypt(_nonce(envelope.parameters), envelope.content, None) if len(key) == size else None
            )
        if len(key) != _CBC[envelope.algorithm]:
            return None
        iv = der.expect(envelope.parameters, der.OCTET_STRING)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        unpadder = padding.PKCS7(128).unpadder()
        padded = decryptor.update(envelope.content) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except (InvalidTag, ValueError, IndexError):
        return None


def _nonce(parameters: der.Element) -> bytes:
    """Of AES-GCM. ocicrypt puts a sequence into a primitive one, and gives the nonce a tag of its own."""
    parts = der.elements(parameters.content)
    if parameters.tag == _PRIMITIVE_SEQUENCE and len(parts) == 1:
        parts = der.elements(der.expect(parts[0], der.SEQUENCE))
    if not parts or parts[0].tag not in (der.OCTET_STRING, _CONTEXT_4):
        raise ValueError("there is no nonce")
    return parts[0].content


def _read(data: bytes) -> _Envelope:
    try:
        kind, wrapped = der.elements(der.only(data, der.SEQUENCE))
        if der.oid(kind) != _ENVELOPED:
            raise ValueError(f"its content is of type {der.oid(kind)}")
        parts = der.elements(der.only(der.expect(wrapped, _CONTEXT_0_CONSTRUCTED), der.SEQUENCE))
        version, recipients, encrypted = [part for part in parts if part.tag not in (0xA0, 0xA1)]
        der.expect(version, der.INTEGER)
        _, algorithm, content = der.elements(der.expect(encrypted, der.SEQUENCE))
        identifier, parameters = der.elements(der.expect(algorithm, der.SEQUENCE))
        return _Envelope(
            [key for one in der.elements(der.expect(recipients, der.SET)) if (key := _recipient(one))],
            der.oid(identifier),
            parameters,
            _content(content),
        )
    except ValueError as error:
        raise ValueError(f"it is no PKCS #7 envelope: {error}") from None


def _recipient(element: der.Element) -> tuple[str, bytes] | None:
    """Algorithm and encrypted key of a recipient with an RSA key; None for other kinds."""
    if element.tag != der.SEQUENCE:
        return None
    _, _, algorithm, key = der.elements(element.content)
    return der.oid(der.elements(der.expect(algorithm, der.SEQUENCE))[0]), der.expect(key, der.OCTET_STRING)


def _content(element: der.Element) -> bytes:
    """The encrypted content, which writers put into one piece or into a row of octet strings."""
    if element.tag == _CONTEXT_0:
        return element.content
    parts = der.elements(der.expect(element, _CONTEXT_0_CONSTRUCTED))
    return b"".join(der.expect(part, der.OCTET_STRING) for part in parts)
