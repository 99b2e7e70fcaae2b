"""All requirements must be met, each by one signature of this manifest for this name."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import InvalidArgument
from crio.base.ids import Digest
from crio.image.errors import SignatureValidationFailed
from crio.image.trust.policy import parse
from crio.image.trust.signatures import COSIGN_PAYLOAD, Signature, SigstoreSignature, SimpleSignature
from crio.image.trust.verification import check, is_digest_of
from crio.wire import reference
from trust_bed import Gpg, cosign_annotations, cosign_payload, ec_key, public_pem, simple_payload

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
NAME = "a.example/app:1"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    made = Gpg(tmp_path_factory.mktemp("gpg"))
    yield made
    made.close()


def judge(signatures: list[Signature], *requirements: dict[str, Any], name: str | None = NAME) -> None:
    policy = parse(json.dumps({"default": requirements}).encode(), "policy.json")
    parsed = reference.parse(name) if name else None
    check(policy.requirements(parsed), signatures, MANIFEST, parsed, "the image")


def signed_by(gpg: Gpg, **more: Any) -> dict[str, Any]:
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": gpg.public, **more}


def simple(gpg: Gpg, digest: str = DIGEST, name: str = NAME) -> SimpleSignature:
    return SimpleSignature(gpg.sign(simple_payload(digest, name)))


def test_signed_by(gpg: Gpg) -> None:
    judge([simple(gpg)], signed_by(gpg))
    data = base64.b64encode(Path(gpg.public).read_bytes()).decode()
    judge([simple(gpg)], signed_by(gpg, keyPath=None, keyData=data))
    judge([simple(gpg, digest="sha512:" + hashlib.sha512(MANIFEST).hexdigest())], signed_by(gpg))
    with pytest.raises(SignatureValidationFailed, match=r"an OpenPGP signature, and there is none$"):
        judge([], signed_by(gpg))
    with pytest.raises(SignatureValidationFailed, match="is for another image, sha256:0000"):
        judge([simple(gpg, digest="sha256:" + "0" * 64)], signed_by(gpg))
    with pytest.raises(SignatureValidationFailed, match=r"is for the name 'a\.example/app:2'"):
        judge([simple(gpg, name="a.example/app:2")], signed_by(gpg))
    with pytest.raises(SignatureValidationFailed, match=r"none of its 2 signatures is accepted: .*; "):
        judge([simple(gpg, name="x:1"), simple(gpg, name="y:1")], signed_by(gpg))


def test_one_good_signature_among_others_suffices(gpg: Gpg) -> None:
    judge([SimpleSignature(b"\xa3junk"), simple(gpg, name="b.example/x:1"), simple(gpg)], signed_by(gpg))


def test_all_requirements_count(gpg: Gpg, tmp_path: Path) -> None:
    key = ec_key()
    notes = cosign_annotations(key, payload := cosign_payload(DIGEST, NAME))
    sigstore = SigstoreSignature(COSIGN_PAYLOAD, payload, notes)
    by_key = {"type": "sigstoreSigned", "keyData": base64.b64encode(public_pem(key)).decode()}
    judge([simple(gpg), sigstore], signed_by(gpg), by_key, {"type": "insecureAcceptAnything"})
    with pytest.raises(SignatureValidationFailed, match=r"a sigstore signature, and there is none \(but 1 of another"):
        judge([simple(gpg)], signed_by(gpg), by_key)
    with pytest.raises(SignatureValidationFailed, match=r"an OpenPGP signature, and there is none \(but 1 of another"):
        judge([sigstore], signed_by(gpg), by_key)
    with pytest.raises(SignatureValidationFailed, match="rejects"):
        judge([simple(gpg), sigstore], signed_by(gpg), {"type": "reject"})


def test_without_a_name(gpg: Gpg) -> None:
    with pytest.raises(SignatureValidationFailed, match="is for the name"):
        judge([simple(gpg)], signed_by(gpg), name=None)
    exact = {"type": "exactRepository", "dockerRepository": "a.example/app"}
    judge([simple(gpg)], signed_by(gpg, signedIdentity=exact), name=None)


def test_keys_that_cannot_be_used(gpg: Gpg, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="absent"):
        judge([simple(gpg)], signed_by(gpg, keyPath=f"{tmp_path}/absent"))
    with pytest.raises(SignatureValidationFailed, match="keyType X509Certificates"):
        judge([simple(gpg)], signed_by(gpg, keyType="X509Certificates"))


def test_digests() -> None:
    assert is_digest_of(Digest(DIGEST), MANIFEST)
    assert not is_digest_of(Digest(DIGEST), MANIFEST + b" ")
