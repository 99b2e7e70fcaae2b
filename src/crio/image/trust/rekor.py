"""Rekor's word that its log has a signature, checked without asking it: the signed entry timestamp (SET).

The log signed its entry with the time of it; the entry names signature, key and payload. All three must be the ones at
hand, or the timestamp is of something else.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec import Struct

from crio.image.trust import strict_json
from crio.image.trust.rejection import Rejection

_MAX_EXACT = 1 << 53
"""Numbers from here on are written in another form by RFC 8785; no log has so many entries."""


class _Entry(Struct, forbid_unknown_fields=True, rename="camel"):
    body: str
    integrated_time: int
    log_index: int
    log_id: str = ""


class _Envelope(Struct, forbid_unknown_fields=True, rename="pascal"):
    signed_entry_timestamp: bytes
    payload: dict[str, str | int]


class _Content(Struct):
    content: bytes


class _LoggedSignature(Struct, rename="camel"):
    content: bytes
    public_key: _Content


class _Hash(Struct):
    algorithm: str
    value: str


class _LoggedData(Struct):
    hash: _Hash


class _Spec(Struct):
    signature: _LoggedSignature
    data: _LoggedData


class _Record(Struct, rename="camel"):
    kind: str
    api_version: str
    spec: _Spec


def verify_timestamp(
    log_keys: Sequence[ec.EllipticCurvePublicKey],
    timestamp: bytes,
    key_or_certificate: bytes,
    signature: bytes,
    payload: bytes,
) -> datetime.datetime:
    """When the log saw this signature of this payload by this key (PEM of a public key or a certificate).

    Raises Rejection if none of the log's keys says so.
    """
    try:
        envelope = strict_json.decode(timestamp, _Envelope)
        _verify(log_keys, envelope.signed_entry_timestamp, _canonical(envelope.payload))
        entry = _entry(envelope.payload)
        record = strict_json.decode(base64.b64decode(entry.body, validate=True), _Record)
    except (ValueError, binascii.Error) as error:
        raise Rejection(f"its entry in Rekor's log cannot be read: {error}") from None
    if (record.kind, record.api_version) != ("hashedrekord", "0.0.1"):
        raise Rejection(f"its entry in Rekor's log is of kind {record.kind[:50]!r} {record.api_version[:20]!r}")
    spec = record.spec
    if _der(spec.signature.public_key.content) != _der(key_or_certificate):
        raise Rejection("its entry in Rekor's log is for another key")
    if spec.signature.content != signature:
        raise Rejection("its entry in Rekor's log is for another signature")
    if spec.data.hash.algorithm != "sha256" or spec.data.hash.value != hashlib.sha256(payload).hexdigest():
        raise Rejection("its entry in Rekor's log is for another payload")
    return datetime.datetime.fromtimestamp(entry.integrated_time, datetime.UTC)


def _verify(log_keys: Sequence[ec.EllipticCurvePublicKey], signature: bytes, data: bytes) -> None:
    for key in log_keys:
        try:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            return
        except InvalidSignature:
            continue
    raise Rejection("its entry in Rekor's log is not signed by an accepted key")


def _canonical(payload: dict[str, str | int]) -> bytes:
    """RFC 8785, for objects of texts and whole numbers."""
    if any(isinstance(value, int) and abs(value) >= _MAX_EXACT for value in payload.values()):
        raise ValueError("a number in it is too large")
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _entry(payload: dict[str, str | int]) -> _Entry:
    match payload:
        case {"body": str(body), "integratedTime": int(time), "logIndex": int(index), "logID": str(log)} if (
            len(payload) == 4 and 0 <= time < 1 << 40
        ):
            return _Entry(body=body, integrated_time=time, log_index=index, log_id=log)
    raise ValueError("its fields are not those of an entry")


def _der(pem: bytes) -> bytes:
    """A key's or certificate's own bytes, whatever the text around them looks like."""
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            (certificate,) = x509.load_pem_x509_certificates(pem)
            return certificate.public_bytes(Encoding.DER)
        return load_pem_public_key(pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError:
        raise Rejection("its entry in Rekor's log has no key that can be read") from None
