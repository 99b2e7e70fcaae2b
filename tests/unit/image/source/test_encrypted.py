"""A source whose encrypted layers are opened, and nothing else of it changed."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crio.base.errors import PermissionDenied
from crio.base.ids import Digest
from crio.image.decryption.layer import LayerKey
from crio.image.documents import Served
from crio.image.source.base import StoredContent
from crio.image.source.encrypted import EncryptedContent, EncryptedSource, is_encrypted, unlock_all, unlocked
from crio.spec import oci_image
from crio.spec.oci_image import Descriptor

PLAIN = b"the layer" * 100


class Source:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def manifest(self, digest: Digest | None) -> Served:
        return Served(b"m", "")

    def config(self, descriptor: Descriptor) -> bytes:
        return b"c"

    def layer(self, descriptor: Descriptor) -> StoredContent:
        return StoredContent(piece for piece in (self.data[:7], self.data[7:]))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None]:
        return (piece for piece in (self.data[start:stop],))


def layer(name: str, *, encrypted: bool) -> Descriptor:
    suffix = "+encrypted" if encrypted else ""
    return Descriptor(media_type=oci_image.LAYER_GZIP + suffix, digest=f"sha256:{name * 64}", size=5)


def test_layers() -> None:
    key, nonce = os.urandom(32), os.urandom(16)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor()
    text = encryptor.update(PLAIN) + encryptor.finalize()
    authentication = hmac.HMAC(key, hashes.SHA256())
    authentication.update(text)
    secret, plain = layer("a", encrypted=True), layer("b", encrypted=False)
    source = EncryptedSource(Source(text), {secret.digest: LayerKey(key, nonce, authentication.finalize())})
    content = source.layer(secret)
    assert isinstance(content, EncryptedContent)
    received = list(content.chunks())
    assert b"".join(received) == text
    assert b"".join(content.opened(iter(received))) == PLAIN
    assert not content.settle()
    assert source.part(secret, 0, 3) is None
    assert isinstance(source.layer(plain), StoredContent)
    assert list(source.part(plain, 0, 3) or ()) == [text[:3]]
    assert (source.manifest(None).data, source.config(plain)) == (b"m", b"c")


def test_without_encryption_nothing_is_loaded(tmp_path: Path) -> None:
    source = Source(b"")
    plain = [layer("a", encrypted=False)]
    assert not is_encrypted(plain)
    assert unlocked(source, plain, "/nonexistent", "x") is source
    assert unlock_all(plain, "", "x") == {}


def test_a_missing_key_is_told(tmp_path: Path) -> None:
    secret = layer("a", encrypted=True)
    assert is_encrypted([layer("b", encrypted=False), secret])
    for directory in ("", str(tmp_path)):
        with pytest.raises(PermissionDenied, match="none of the 0 private keys"):
            unlocked(Source(b""), [secret], directory, "x")
