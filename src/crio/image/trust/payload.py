"""What a signature says: this digest, under this name. Two formats with one shape.

containers-signature(5) for OpenPGP ("simple signing"), and cosign's for sigstore. Only ever read after the signature
over the bytes was found good. Pure.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from crio.base.errors import InvalidArgument
from crio.base.ids import Digest, parse_digest
from crio.image.trust import strict_json
from crio.image.trust.rejection import Rejection

SIMPLE = "atomic container signature"
SIGSTORE = "cosign container image signature"


class Claim(NamedTuple):
    """What the signer says."""

    digest: Digest
    name: str


class _Image(Struct, forbid_unknown_fields=True, rename={"digest": "docker-manifest-digest"}):
    digest: str


class _Identity(Struct, forbid_unknown_fields=True, rename={"name": "docker-reference"}):
    name: str


class _Critical(Struct, forbid_unknown_fields=True):
    type: str
    image: _Image
    identity: _Identity


class _Payload(Struct, forbid_unknown_fields=True):
    critical: _Critical
    optional: dict[str, Any] | None


def read_claim(data: bytes, kind: str) -> Claim:
    """The claim in a payload of type SIMPLE or SIGSTORE. Raises Rejection for anything that is not exactly one."""
    try:
        payload = strict_json.decode(data, _Payload)
        if payload.critical.type != kind:
            raise ValueError(f"its type is {payload.critical.type[:100]!r} and not {kind!r}")
        _check_optional(payload.optional, may_be_null=kind == SIGSTORE)
        return Claim(parse_digest(payload.critical.image.digest), payload.critical.identity.name)
    except InvalidArgument as error:
        raise Rejection(f"its payload cannot be used: {error.message}") from None
    except ValueError as error:
        raise Rejection(f"its payload cannot be used: {error}") from None


def _check_optional(optional: dict[str, Any] | None, *, may_be_null: bool) -> None:
    if optional is None:
        if not may_be_null:
            raise ValueError("optional is null")
        return
    if not isinstance(optional.get("creator", ""), str):
        raise ValueError("optional.creator is no text")
    timestamp = optional.get("timestamp", 0)
    # 1e999 is read as an infinite number, which is no whole one.
    is_whole = isinstance(timestamp, int) or (isinstance(timestamp, float) and timestamp.is_integer())
    if isinstance(timestamp, bool) or not is_whole:
        raise ValueError("optional.timestamp is no whole number")
