"""One encrypted layer: its key from its annotations, and its bytes by that key (ocicrypt).

The layer's key is unwrapped at every use of the image, also where the decrypted layer is in the store already: who has
no key cannot run what somebody else has pulled. Blocking; for the image worker.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crio.base.errors import PermissionDenied
from crio.base.jsontext import UNREADABLE
from crio.image.decryption import jwe, pkcs7
from crio.image.decryption.keys import NodeKey, PrivateKey
from crio.image.errors import BadContent, BadImage
from crio.spec.oci_image import Descriptor

_ANNOTATION = "org.opencontainers.image.enc."
_SCHEMES: dict[str, Callable[[bytes, Sequence[PrivateKey]], bytes | None]] = {
    "jwe": jwe.decrypt,
    "pkcs7": pkcs7.decrypt,
}
_CIPHER = "AES_256_CTR_HMAC_SHA256"
_MAX_WRAPPED = 1 << 20


class _Public(msgspec.Struct):
    cipher: str = ""
    hmac: bytes = b""
    cipheroptions: dict[str, bytes] | None = None


class _Private(msgspec.Struct):
    symkey: bytes
    cipheroptions: dict[str, bytes] | None = None


class LayerKey(NamedTuple):
    """What it takes to decrypt one layer."""

    key: bytes
    nonce: bytes
    hmac: bytes
    """SHA-256 HMAC of the encrypted layer."""

    def decrypted(self, chunks: Iterator[bytes], what: str) -> Generator[bytes, None, None]:
        """The layer's own bytes. Raises BadContent at the end if it was changed after it was encrypted."""
        decryptor = Cipher(algorithms.AES(self.key), modes.CTR(self.nonce)).decryptor()
        authentication = hmac.HMAC(self.key, hashes.SHA256())
        for chunk in chunks:
            authentication.update(chunk)
            yield decryptor.update(chunk)
        try:
            authentication.verify(self.hmac)
        except InvalidSignature:
            raise BadContent(f"cannot use {what}: it was changed after it was encrypted") from None


def unlock(layer: Descriptor, keys: Sequence[NodeKey], what: str) -> LayerKey:
    """The key of an encrypted layer.

    Raises PermissionDenied if none of the node's keys opens it, BadImage for what is not as ocicrypt writes it.
    """
    annotations = layer.annotations or {}
    where = f"encrypted layer {layer.digest} of {what}"
    try:
        public = msgspec.json.decode(_base64(annotations.get(f"{_ANNOTATION}pubopts", "e30=")), type=_Public)
        private = _unwrap(annotations, keys, where)
    except (ValueError, *UNREADABLE) as error:
        raise BadImage(f"cannot use {where}: {error}") from None
    nonce = (public.cipheroptions or {}).get("nonce") or (private.cipheroptions or {}).get("nonce") or b""
    if public.cipher != _CIPHER:
        raise BadImage(f"cannot use {where}: its cipher {public.cipher[:50]!r} is not known")
    if (len(private.symkey), len(nonce), len(public.hmac)) != (32, 16, 32):
        raise BadImage(f"cannot use {where}: its key, nonce or HMAC is not of the right length")
    return LayerKey(private.symkey, nonce, public.hmac)


def _unwrap(annotations: dict[str, str], keys: Sequence[NodeKey], where: str) -> _Private:
    """Raises ValueError for malformed messages, PermissionDenied if no key fits."""
    known = [scheme for scheme in _SCHEMES if f"{_ANNOTATION}keys.{scheme}" in annotations]
    for scheme in known:
        for text in annotations[f"{_ANNOTATION}keys.{scheme}"].split(","):
            plain = _SCHEMES[scheme](_base64(text), [key.key for key in keys])
            if plain is not None:
                return msgspec.json.decode(plain, type=_Private)
    others = sorted(
        name.removeprefix(f"{_ANNOTATION}keys.") for name in annotations if name.startswith(f"{_ANNOTATION}keys.")
    )
    if others and not known:
        raise PermissionDenied(
            f"cannot use {where}: its key is wrapped by {', '.join(others)[:100]}; this node can unwrap jwe and pkcs7"
        )
    raise PermissionDenied(f"cannot use {where}: none of the {len(keys)} private keys in decryption_keys_path opens it")


def _base64(text: str) -> bytes:
    if len(text) > _MAX_WRAPPED:
        raise ValueError(f"an annotation is longer than {_MAX_WRAPPED} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"an annotation cannot be read: {error}") from None
