"""Simple signing: OpenPGP messages that hold a payload and its signature (containers-signature(5)).

Sequoia reads and checks them, with its own judgement of what is too weak (SHA-1, short keys) and of keys that are
expired or revoked. Blocking; for the image worker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crio.base.errors import InvalidArgument
from crio.image.trust.openpgp_packets import uncompressed
from crio.image.trust.rejection import Rejection

if TYPE_CHECKING:
    from pysequoia import Cert

_ARMORED = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
_MAX_CERTIFICATES = 1000


def read_keys(keyrings: Sequence[bytes], what: str) -> list[Cert]:
    """The certificates in these files, each armored or not. Raises InvalidArgument if one of them has none."""
    from pysequoia import Cert  # lazy: 2 MiB, for nodes whose policy asks for it

    found: list[Cert] = []
    for number, keyring in enumerate(keyrings, 1):
        blocks = _ARMORED.findall(keyring) or [keyring]
        try:
            certificates = [certificate for block in blocks for certificate in Cert.split_bytes(block)]
        except Exception as error:  # noqa: BLE001 - the library raises Exception itself
            raise InvalidArgument(f"cannot use OpenPGP keyring {number} of {what}: {_first_line(error)}") from None
        if not certificates:
            raise InvalidArgument(f"cannot use OpenPGP keyring {number} of {what}: there is no key in it")
        found += certificates
    if len(found) > _MAX_CERTIFICATES:
        raise InvalidArgument(
            f"cannot use the OpenPGP keyrings of {what}: they have more than {_MAX_CERTIFICATES} keys"
        )
    return found


def signed_content(message: bytes, keys: Sequence[Cert]) -> bytes:
    """What a message says that one of the keys has signed. Raises Rejection."""
    from pysequoia import verify

    plain = uncompressed(message)
    # A revoked key counts for nothing, whenever a signature claims to have been made: that is the signer's word.
    usable = [key for key in keys if not key.is_revoked]
    try:
        result = verify(bytes=plain, store=lambda wanted: usable)
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        raise Rejection(f"no accepted OpenPGP key has made it: {_first_line(error)}") from None
    if not result.valid_sigs or result.bytes is None:
        raise Rejection("no accepted OpenPGP key has made it")
    return bytes(result.bytes)


def _first_line(error: Exception) -> str:
    # The library appends a backtrace.
    return str(error).partition("\n")[0][:200]
