"""Algorithms of RFC 7518 that other tools than skopeo may choose."""

from __future__ import annotations

import base64
import json
import os
from hashlib import sha256, sha384, sha512
from hmac import digest as hmac_digest
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.image.decryption import jwe
from crio.image.decryption.keys import PrivateKey
from trust_bed import ec_key

EC_KEY = ec_key()
KEY = rsa.generate_private_key(65537, 2048)
PLAIN = b'{"symkey": "a secret"}'
HASHES = {32: sha256, 48: sha384, 64: sha512}


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def message(algorithm: str, encryption: str, *, aad: str | None = None, **protected: Any) -> dict[str, Any]:
    """A flattened message for KEY."""
    header = url64(json.dumps({"alg": algorithm, "enc": encryption, **protected}).encode())
    associated = (header + (f".{aad}" if aad else "")).encode()
    if encryption.endswith("GCM"):
        key, iv = os.urandom(int(encryption[1:4]) // 8), os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, PLAIN, associated)
        text, tag = sealed[:-16], sealed[-16:]
    else:
        length = int(encryption[1:4]) // 8
        key, iv = os.urandom(2 * length), os.urandom(16)
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES(key[length:]), modes.CBC(iv)).encryptor()
        text = encryptor.update(padder.update(PLAIN) + padder.finalize()) + encryptor.finalize()
        bits = (len(associated) * 8).to_bytes(8, "big")
        tag = hmac_digest(key[:length], associated + iv + text + bits, HASHES[2 * length])[:length]
    digest = hashes.SHA256() if algorithm.endswith("256") else hashes.SHA1()
    wrapped = KEY.public_key().encrypt(key, OAEP(MGF1(digest), digest, None))
    fields = {"protected": header, "encrypted_key": url64(wrapped), "iv": url64(iv), "ciphertext": url64(text)}
    return {**fields, "tag": url64(tag), **({"aad": aad} if aad else {})}


def decrypt(value: dict[str, Any]) -> bytes | None:
    return jwe.decrypt(json.dumps(value).encode(), [KEY])


@pytest.mark.parametrize("algorithm", ["RSA-OAEP", "RSA-OAEP-256"])
@pytest.mark.parametrize(
    "encryption", ["A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"]
)
def test_algorithms(algorithm: str, encryption: str) -> None:
    made = message(algorithm, encryption)
    assert decrypt(made) == PLAIN
    assert decrypt(message(algorithm, encryption, aad="YQ")) == PLAIN
    assert decrypt({**made, "tag": url64(b"x" * len(base64.urlsafe_b64decode(made["tag"] + "==")))}) is None
    assert decrypt({**made, "aad": "YQ"}) is None
    recipient = {"encrypted_key": made.pop("encrypted_key")}
    assert decrypt({**made, "recipients": [{}, recipient]}) == PLAIN


def test_what_is_refused() -> None:
    made = message("RSA-OAEP", "A256GCM")
    for bad in ({**made, "protected": "!"}, {**made, "iv": "!"}, message("RSA-OAEP", "A256GCM", crit=["x"]),
                message("RSA-OAEP", "A256GCM", zip="DEF")):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            decrypt(bad)
    with pytest.raises(ValueError, match="is not known"):
        decrypt({**made, "protected": url64(b'{"alg":"RSA-OAEP","enc":"A1"}')})
    assert decrypt({**made, "protected": url64(b'{"alg":"dir","enc":"A256GCM"}')}) is None


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["alg", "epk", "crv", "x", "y", "enc", "kid"]), inner), max_leaves=8)  # fmt: skip


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["alg", "enc", "epk", "apu"]), JSON), st.binary(max_size=40))
def test_any_header(header: dict[str, Any], data: bytes) -> None:
    """Whatever a header says, the message is refused or not opened."""
    keys: list[PrivateKey] = [KEY, EC_KEY]
    for algorithm in ("RSA-OAEP", "ECDH-ES+A256KW", header.get("alg")):
        value = {"protected": url64(json.dumps({**header, "alg": algorithm}).encode()), "encrypted_key": url64(data)}
        try:
            assert jwe.decrypt(json.dumps({**value, "iv": url64(data), "tag": url64(data)}).encode(), keys) is None
        except (ValueError, msgspec.DecodeError):
            continue
