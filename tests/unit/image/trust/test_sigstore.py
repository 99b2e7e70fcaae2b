"""sigstoreSigned by keys, by Fulcio with Rekor, and by other authorities; each part missing or wrong in turn."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

import trust_bed as bed
from crio.base.errors import InvalidArgument
from crio.image.trust import strict_json
from crio.image.trust.rejection import Rejection
from crio.image.trust.requirements import SigstoreSigned
from crio.image.trust.signatures import COSIGN_PAYLOAD, SigstoreSignature
from crio.image.trust.sigstore import SigstoreVerifier

DIGEST = "sha256:" + "a" * 64
PAYLOAD = bed.cosign_payload(DIGEST, "a.b/c")
HOUR = datetime.timedelta(hours=1)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def verifier(**fields: Any) -> SigstoreVerifier:
    document = {"type": "sigstoreSigned", **fields}
    return SigstoreVerifier(strict_json.decode(json.dumps(document).encode(), SigstoreSigned), "the policy")


def signature(notes: Mapping[str, str], payload: bytes = PAYLOAD) -> SigstoreSignature:
    return SigstoreSignature(COSIGN_PAYLOAD, payload, dict(notes))


@pytest.mark.parametrize(
    "key",
    [bed.ec_key(), rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()],
    ids=["ec", "rsa", "ed25519"],
)
def test_keys(key: bed.PrivateKey) -> None:
    other = bed.ec_key()
    good = signature(bed.cosign_annotations(key, PAYLOAD))
    assert verifier(keyData=text(bed.public_pem(key))).verify(good).digest == DIGEST
    assert verifier(keyDatas=[text(bed.public_pem(other)), text(bed.public_pem(key))]).verify(good).name == "a.b/c"
    with pytest.raises(Rejection, match="no accepted sigstore key"):
        verifier(keyData=text(bed.public_pem(other))).verify(good)
    with pytest.raises(Rejection, match="no accepted sigstore key"):
        verifier(keyData=text(bed.public_pem(key))).verify(signature(good.annotations, PAYLOAD + b" "))


def test_what_is_no_signature() -> None:
    key = bed.ec_key()
    it = verifier(keyData=text(bed.public_pem(key)))
    notes = bed.cosign_annotations(key, PAYLOAD)
    with pytest.raises(Rejection, match=r"no annotation dev.cosignproject.cosign/signature"):
        it.verify(signature({}))
    for damaged in ("!", "\u00e4"):
        with pytest.raises(Rejection, match="base64"):
            it.verify(signature({"dev.cosignproject.cosign/signature": damaged}))
    with pytest.raises(Rejection, match="no signature but"):
        it.verify(SigstoreSignature("application/vnd.dsse.envelope.v1+json", PAYLOAD, notes))


def test_keys_that_cannot_be_used(tmp_path: Any) -> None:
    (tmp_path / "key.pub").write_bytes(b"junk")
    for fields in ({"keyData": text(b"junk")}, {"keyPath": f"{tmp_path}/key.pub"}, {"keyPath": f"{tmp_path}/absent"}):
        with pytest.raises(InvalidArgument):
            verifier(**fields)
    rsa_pem = text(bed.public_pem(rsa.generate_private_key(65537, 2048)))
    with pytest.raises(InvalidArgument, match="no ECDSA key"):
        verifier(keyData=text(bed.public_pem(bed.ec_key())), rekorPublicKeyData=rsa_pem)
    with pytest.raises(InvalidArgument, match="cannot use the certificates"):
        verifier(pki={"caRootsData": text(b"junk"), "subjectEmail": bed.EMAIL})


class Logged:
    """A signature by a key, in a log."""

    def __init__(self) -> None:
        self.key, self.log = bed.ec_key(), bed.ec_key()
        self.raw = bed.raw_signature(self.key, PAYLOAD)
        self.public = bed.public_pem(self.key)
        self.bundle = bed.rekor_bundle(self.log, self.public, self.raw, PAYLOAD, time.time())

    def verify(self, bundle: str | None, **fields: Any) -> None:
        notes = {"dev.cosignproject.cosign/signature": text(self.raw)}
        if bundle is not None:
            notes["dev.sigstore.cosign/bundle"] = bundle
        log = text(bed.public_pem(self.log))
        verifier(**{"keyData": text(self.public), "rekorPublicKeyData": log, **fields}).verify(signature(notes))


def test_a_key_and_the_log() -> None:
    it = Logged()
    it.verify(it.bundle)
    others = [text(bed.public_pem(bed.ec_key())), text(bed.public_pem(it.log))]
    it.verify(it.bundle, rekorPublicKeyData=None, rekorPublicKeyDatas=others)
    it.verify(it.bundle, keyData=None, keyDatas=[others[0], text(it.public)])
    with pytest.raises(Rejection, match=r"no annotation dev.sigstore.cosign/bundle"):
        it.verify(None)
    with pytest.raises(Rejection, match="not signed by an accepted key"):
        it.verify(it.bundle, rekorPublicKeyData=others[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key_or_certificate": bed.public_pem(bed.ec_key())}, "for another key"),
        ({"signature": b"x"}, "for another signature"),
        ({"payload": b"x"}, "for another payload"),
        ({"key_or_certificate": b"junk"}, "no key that can be read"),
    ],
)
def test_an_entry_of_something_else(change: dict[str, bytes], reason: str) -> None:
    it = Logged()
    parts = {"key_or_certificate": it.public, "signature": it.raw, "payload": PAYLOAD, **change}
    with pytest.raises(Rejection, match=reason):
        it.verify(bed.rekor_bundle(it.log, **parts, when=time.time()))


def test_an_entry_that_was_changed() -> None:
    it = Logged()
    bundle = json.loads(it.bundle)
    for change in (
        {"integratedTime": 1}, {"logIndex": 1 << 60}, {"more": 1}, {"integratedTime": 1.5}, {"body": 5},
    ):  # fmt: skip
        changed = {**bundle, "Payload": {**bundle["Payload"], **change}}
        with pytest.raises(Rejection, match="log"):
            it.verify(json.dumps(changed))
    for broken in (" ", "[]", "{}", json.dumps({**bundle, "More": 1}), json.dumps({**bundle, "Payload": {}})):
        with pytest.raises(Rejection, match="log"):
            it.verify(broken)


class Certified:
    """A signature by a short-lived key, as Fulcio and Rekor leave it."""

    def __init__(self, **certificate: Any) -> None:
        self.root = bed.authority("root")
        self.middle = bed.authority("middle", self.root, path_length=0)
        self.key, self.log = bed.ec_key(), bed.ec_key()
        self.when = time.time() - 3500
        options = {"oidc_issuer": bed.ISSUER, "age": HOUR, **certificate}
        self.certificate = bed.code_signing(options.pop("by", self.middle), self.key, **options)
        self.chain = self.middle.pem + self.root.pem

    def verify(self, **policy: Any) -> None:
        raw = bed.raw_signature(self.key, PAYLOAD)
        notes = {
            "dev.cosignproject.cosign/signature": text(raw),
            "dev.sigstore.cosign/bundle": bed.rekor_bundle(self.log, self.certificate, raw, PAYLOAD, self.when),
            "dev.sigstore.cosign/certificate": self.certificate.decode(),
            "dev.sigstore.cosign/chain": self.chain.decode(),
        }
        fulcio = {
            "caData": text(self.root.pem), "oidcIssuer": bed.ISSUER, "subjectEmail": bed.EMAIL, **policy
        }  # fmt: skip
        verifier(fulcio=fulcio, rekorPublicKeyData=text(bed.public_pem(self.log))).verify(signature(notes))


def test_fulcio() -> None:
    Certified().verify()
    Certified(oidc_issuer="", oidc_issuer_v2=bed.ISSUER).verify()
    Certified(oidc_issuer_v2=bed.ISSUER).verify()


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ({"oidc_issuer": "https://elsewhere"}, "identified by 'https://elsewhere'"),
        ({"oidc_issuer": ""}, "does not say who"),
        ({"oidc_issuer_v2": "https://elsewhere"}, "two parties"),
        ({"email": "other@example.com"}, "for other@example.com and not for"),
        ({"email": "", "host": "a.example"}, "for no mail address"),
        ({"age": datetime.timedelta(0)}, "not valid on"),
        ({"age": 3 * HOUR}, "not valid on"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "not for signing code"),
        ({"by": bed.authority("stranger")}, "not issued by an accepted authority"),
        ({"extensions": [x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")]}, "critical extension"),
    ],
)
def test_fulcio_and_a_wrong_certificate(certificate: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        Certified(**certificate).verify()


def test_chains() -> None:
    it = Certified()
    it.chain = it.root.pem
    with pytest.raises(Rejection, match="not issued by"):
        it.verify()
    deeper = bed.authority("deeper", it.middle)
    it = Certified()
    deeper = bed.authority("deeper", it.middle)
    it.certificate = bed.code_signing(deeper, it.key, oidc_issuer=bed.ISSUER, age=HOUR)
    it.chain = deeper.pem + it.middle.pem + it.root.pem
    with pytest.raises(Rejection, match="not issued by"):
        it.verify()
    it = Certified()
    nobody = bed.authority("nobody", it.root, ca=False)
    it.certificate = bed.code_signing(nobody, it.key, oidc_issuer=bed.ISSUER, age=HOUR)
    it.chain = nobody.pem + it.root.pem
    with pytest.raises(Rejection, match="not issued by"):
        it.verify()
    # What the signer calls the root is not one for that.
    it = Certified()
    other = bed.authority("other")
    it.certificate = bed.code_signing(other, it.key, oidc_issuer=bed.ISSUER, age=HOUR)
    it.chain = other.pem + other.pem
    with pytest.raises(Rejection, match="not issued by"):
        it.verify()


def test_certificates_that_lead_to_each_other() -> None:
    """Thirty certificates with one name and one key: each has issued all the others."""
    one = bed.authority("maze")
    twins = [bed.authority("maze", one, key=one.key) for _ in range(30)]
    it = verifier(pki={"caRootsData": text(bed.authority("root").pem), "subjectEmail": bed.EMAIL})
    with pytest.raises(Rejection, match="in too many ways"):
        it.verify(pki_signature(one, b"".join(twin.pem for twin in twins)))


def pki_signature(issuer: bed.Authority, chain: bytes = b"", **certificate: Any) -> SigstoreSignature:
    key = bed.ec_key()
    pem = bed.code_signing(issuer, key, **certificate)
    notes = bed.cosign_annotations(key, PAYLOAD, certificate=pem.decode())
    if chain:
        notes["dev.sigstore.cosign/chain"] = chain.decode()
    return signature(notes)


def test_pki() -> None:
    root = bed.authority("root")
    middle = bed.authority("middle", root)
    roots = {"caRootsData": text(root.pem)}
    by_mail = verifier(pki={**roots, "subjectEmail": bed.EMAIL})
    by_mail.verify(pki_signature(root))
    by_mail.verify(pki_signature(middle, middle.pem + root.pem))
    with pytest.raises(Rejection, match="not issued by"):
        by_mail.verify(pki_signature(middle))
    verifier(pki={**roots, "subjectEmail": bed.EMAIL, "caIntermediatesData": text(middle.pem)}).verify(
        pki_signature(middle)
    )
    with pytest.raises(Rejection, match="not valid on"):
        by_mail.verify(pki_signature(root, age=HOUR))
    with pytest.raises(Rejection, match=r"no annotation dev.sigstore.cosign/certificate"):
        by_mail.verify(signature(bed.cosign_annotations(bed.ec_key(), PAYLOAD)))


@pytest.mark.parametrize(
    ("certified", "asked", "expected"),
    [
        ("build.example.com", "build.example.com", True),
        ("build.example.com", "BUILD.example.com.", True),
        ("*.example.com", "build.example.com", True),
        ("*.example.com", "a.build.example.com", False),
        ("*.example.com", "example.com", False),
        ("build.example.com", "other.example.com", False),
        ("build.example.com", "192.0.2.1", False),
    ],
)
def test_host_names(certified: str, asked: str, expected: bool) -> None:
    root = bed.authority("root")
    it = verifier(pki={"caRootsData": text(root.pem), "subjectHostname": asked})
    good = pki_signature(root, host=certified, email="")
    if expected:
        it.verify(good)
    else:
        with pytest.raises(Rejection, match="not for the host"):
            it.verify(good)


@pytest.mark.parametrize(
    ("permitted", "excluded", "expected"),
    [
        ([x509.RFC822Name("example.com")], None, True),
        ([x509.RFC822Name(".example.com")], None, False),
        ([x509.RFC822Name("signer@example.com")], None, True),
        ([x509.RFC822Name("other.example")], None, False),
        (None, [x509.RFC822Name("example.com")], False),
        ([x509.DNSName("example.com")], None, True),
        (None, [x509.DNSName("build.example.com")], False),
        ([x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))], None, True),
        (None, [x509.UniformResourceIdentifier("example.com")], False),
    ],
)
def test_name_constraints(permitted: Any, excluded: Any, expected: bool) -> None:
    root = bed.authority("root", extensions=[x509.NameConstraints(permitted, excluded)])
    it = verifier(pki={"caRootsData": text(root.pem), "subjectEmail": bed.EMAIL})
    made = pki_signature(root, host="build.example.com")
    if expected:
        it.verify(made)
    else:
        with pytest.raises(Rejection, match="not issued by"):
            it.verify(made)
