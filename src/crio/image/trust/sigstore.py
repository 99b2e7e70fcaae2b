"""sigstoreSigned: signatures as cosign makes them, by a key, a Fulcio certificate or one of another authority.

What is checked, and in which order, follows containers-policy.json(5). Blocking; for the image worker.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import ObjectIdentifier

from crio.base.errors import InvalidArgument
from crio.image import der
from crio.image.trust import certificates, rekor
from crio.image.trust.payload import SIGSTORE, Claim, read_claim
from crio.image.trust.rejection import Rejection
from crio.image.trust.requirements import Fulcio, Pki, SigstoreSigned
from crio.image.trust.signatures import COSIGN_PAYLOAD, SigstoreSignature
from crio.image.trust.sources import read_all

_SIGNATURE = "dev.cosignproject.cosign/signature"
_TIMESTAMP = "dev.sigstore.cosign/bundle"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_CHAIN = "dev.sigstore.cosign/chain"

_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""Extensions in which Fulcio says who had vouched for the signer: as bare bytes, and in DER."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class _Authority(NamedTuple):
    roots: list[x509.Certificate]
    intermediates: list[x509.Certificate]


class SigstoreVerifier:
    """One requirement with its keys read. Raises InvalidArgument if they cannot be used."""

    def __init__(self, requirement: SigstoreSigned, what: str) -> None:
        self._requirement = requirement
        it = requirement
        self._keys = [_key(pem, what) for pem in read_all(it.key_path, it.key_paths, it.key_data, it.key_datas)]
        self._log_keys: list[ec.EllipticCurvePublicKey] = []
        for pem in read_all(
            it.rekor_public_key_path,
            it.rekor_public_key_paths,
            it.rekor_public_key_data,
            it.rekor_public_key_datas,
        ):
            key = _key(pem, what)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise InvalidArgument(f"cannot use a Rekor key of {what}: it is no ECDSA key")
            self._log_keys.append(key)
        self._authority = _authority(it.fulcio, it.pki, what)

    def verify(self, signature: SigstoreSignature) -> Claim:
        """What the signature claims, with everything checked but whether the claim fits. Raises Rejection."""
        if signature.mime_type != COSIGN_PAYLOAD:
            raise Rejection(f"it is no signature but {signature.mime_type[:100]!r}")
        try:
            raw = base64.b64decode(_annotation(signature, _SIGNATURE), validate=True)
        except ValueError:
            raise Rejection("its base64 is damaged") from None
        keys = self._accepted_keys(signature, raw)
        for key in keys:
            if _is_good(key, raw, signature.payload):
                return read_claim(signature.payload, SIGSTORE)
        raise Rejection("no accepted sigstore key has made it")

    def _accepted_keys(self, signature: SigstoreSignature, raw: bytes) -> Sequence[PublicKey]:
        if self._requirement.fulcio is not None:
            return [self._fulcio_key(self._requirement.fulcio, signature, raw)]
        if self._requirement.pki is not None:
            return [self._pki_key(self._requirement.pki, signature)]
        if not self._log_keys:
            return self._keys
        timestamp = _annotation(signature, _TIMESTAMP).encode()
        last = Rejection("it has no key")
        for key in self._keys:
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            try:
                rekor.verify_timestamp(self._log_keys, timestamp, pem, raw, signature.payload)
                return [key]
            except Rejection as rejection:
                last = rejection
        raise last

    def _fulcio_key(self, fulcio: Fulcio, signature: SigstoreSignature, raw: bytes) -> PublicKey:
        timestamp = _annotation(signature, _TIMESTAMP).encode()
        pem = _annotation(signature, _CERTIFICATE).encode()
        when = rekor.verify_timestamp(self._log_keys, timestamp, pem, raw, signature.payload)
        leaf, key = self._certified(signature, pem, when)
        issuer = _issuer(leaf)
        if issuer != fulcio.oidc_issuer:
            raise Rejection(f"its signer was identified by {issuer[:200]!r} and not by {fulcio.oidc_issuer!r}")
        _check_email(leaf, fulcio.subject_email)
        return key

    def _pki_key(self, pki: Pki, signature: SigstoreSignature) -> PublicKey:
        pem = _annotation(signature, _CERTIFICATE).encode()
        leaf, key = self._certified(signature, pem, datetime.datetime.now(datetime.UTC))
        if pki.subject_email:
            _check_email(leaf, pki.subject_email)
        if pki.subject_hostname and not certificates.is_for_host(leaf, pki.subject_hostname):
            raise Rejection(f"its certificate is not for the host {pki.subject_hostname!r}")
        return key

    def _certified(
        self, signature: SigstoreSignature, pem: bytes, when: datetime.datetime
    ) -> tuple[x509.Certificate, PublicKey]:
        leaves = certificates.read_pem(pem, "its certificate")
        if len(leaves) != 1:
            raise Rejection("it has more than one certificate")
        intermediates = list(self._authority.intermediates)
        if chain := signature.annotations.get(_CHAIN):
            # The last one is the root that the signer had in mind; only the policy's own count.
            intermediates += certificates.read_pem(chain.encode(), "its chain of certificates")[:-1]
        key = certificates.verify_chain(leaves[0], intermediates, self._authority.roots, when)
        if not isinstance(key, PublicKey):
            raise Rejection("the key of its certificate is of a kind that is not used for signatures")
        return leaves[0], key


def _authority(fulcio: Fulcio | None, pki: Pki | None, what: str) -> _Authority:
    roots, intermediates = b"", b""
    if fulcio is not None:
        roots = b"".join(read_all(fulcio.ca_path, None, fulcio.ca_data, None))
    elif pki is not None:
        roots = b"".join(read_all(pki.ca_roots_path, None, pki.ca_roots_data, None))
        intermediates = b"".join(read_all(pki.ca_intermediates_path, None, pki.ca_intermediates_data, None))
    try:
        return _Authority(
            certificates.read_pem(roots, "the authority") if roots else [],
            certificates.read_pem(intermediates, "the authority's intermediate") if intermediates else [],
        )
    except Rejection as rejection:
        raise InvalidArgument(f"cannot use the certificates of {what}: {rejection.reason}") from None


def _key(pem: bytes, what: str) -> PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"cannot use a public key of {what}: {error}") from None
    if not isinstance(key, PublicKey):
        raise InvalidArgument(f"cannot use a public key of {what}: it is neither RSA, ECDSA nor Ed25519")
    return key


def _is_good(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            case ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _annotation(signature: SigstoreSignature, name: str) -> str:
    value = signature.annotations.get(name)
    if not value:
        raise Rejection(f"it has no annotation {name}")
    return value


def _check_email(certificate: x509.Certificate, wanted: str) -> None:
    found = certificates.emails(certificate)
    if wanted not in found:
        raise Rejection(f"its certificate is for {', '.join(found)[:200] or 'no mail address'} and not for {wanted}")


def _issuer(certificate: x509.Certificate) -> str:
    """Who identified the signer, in Fulcio's extensions; if both are there they must agree."""
    found = set()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.UnrecognizedExtension):
            try:
                if extension.oid == _ISSUER:
                    found.add(extension.value.value.decode())
                elif extension.oid == _ISSUER_V2:
                    found.add(der.only(extension.value.value, der.UTF8_STRING).decode())
            except ValueError:
                raise Rejection("its certificate's issuer extension cannot be read") from None
    if len(found) != 1:
        raise Rejection("its certificate does not say who identified the signer" if not found else "its certificate "
                        "names two parties that identified the signer")  # fmt: skip
    return found.pop()
