"""Whether an image's signatures meet what the policy asks of it. Blocking; for the image worker.

Each requirement must be met, each by any one signature. A signature meets a requirement if an accepted key made it, if
it is of this very manifest, and if it was made for the name under which the image is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from crio.base.ids import Digest
from crio.image.errors import SignatureValidationFailed
from crio.image.trust import identity, openpgp
from crio.image.trust.payload import SIMPLE, Claim, read_claim
from crio.image.trust.policy import Requirements, need_signatures
from crio.image.trust.rejection import Rejection
from crio.image.trust.requirements import Requirement, SignedBy, SigstoreSigned
from crio.image.trust.signatures import Signature, SigstoreSignature, SimpleSignature
from crio.image.trust.sources import read_all
from crio.wire.reference import Reference

S = TypeVar("S", SimpleSignature, SigstoreSignature)

_MAX_REASONS = 4


def check(
    requirements: Requirements,
    signatures: Sequence[Signature],
    manifest: bytes,
    name: Reference | None,
    what: str,
) -> None:
    """Raise SignatureValidationFailed unless the image meets all requirements.

    `manifest` is what is signed: its bytes, for schema 1 without the signature in it. `name` is under which the image
    is asked for, None if it has no name of a registry; `what` is for messages. Raises InvalidArgument if the policy's
    keys cannot be used.
    """
    need_signatures(requirements, what)
    for requirement in requirements:
        match requirement:
            case SignedBy():
                _meet(
                    requirement, signatures, SimpleSignature, _simple_verifier(requirement, what), manifest, name, what
                )
            case SigstoreSigned():
                from crio.image.trust.sigstore import SigstoreVerifier  # lazy: 15 MiB, for policies that ask for it

                verifier = SigstoreVerifier(requirement, f"the policy for {what}")
                _meet(requirement, signatures, SigstoreSignature, verifier.verify, manifest, name, what)


def _simple_verifier(requirement: SignedBy, what: str) -> Callable[[SimpleSignature], Claim]:
    if requirement.key_type != "GPGKeys":
        raise SignatureValidationFailed(
            f"cannot use image {what}: the policy has keyType {requirement.key_type}, which is unknown; use GPGKeys"
        )
    keyrings = read_all(requirement.key_path, requirement.key_paths, requirement.key_data, None)
    keys = openpgp.read_keys(keyrings, f"the policy for {what}")
    return lambda signature: read_claim(openpgp.signed_content(signature.data, keys), SIMPLE)


def _meet(
    requirement: SignedBy | SigstoreSigned,
    signatures: Sequence[Signature],
    kind: type[S],
    verify: Callable[[S], Claim],
    manifest: bytes,
    name: Reference | None,
    what: str,
) -> None:
    reasons: list[str] = []
    for signature in signatures:
        if isinstance(signature, kind):
            try:
                _fit(verify(signature), requirement, manifest, name)
                return
            except Rejection as rejection:
                reasons.append(rejection.reason)
    raise SignatureValidationFailed(f"cannot use image {what}: {_summary(requirement, signatures, reasons)}")


def _fit(claim: Claim, requirement: SignedBy | SigstoreSigned, manifest: bytes, name: Reference | None) -> None:
    if not is_digest_of(claim.digest, manifest):
        raise Rejection(f"it is for another image, {claim.digest}")
    if not identity.matches(requirement.signed_identity, name, claim.name):
        raise Rejection(f"it is for the name {claim.name[:200]!r}")


def is_digest_of(digest: Digest, data: bytes) -> bool:
    algorithm, _, wanted = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == wanted


def _summary(requirement: Requirement, signatures: Sequence[Signature], reasons: Sequence[str]) -> str:
    kind = "an OpenPGP" if isinstance(requirement, SignedBy) else "a sigstore"
    if not reasons:
        others = f" (but {len(signatures)} of another kind)" if signatures else ""
        return f"the policy asks for {kind} signature, and there is none{others}"
    shown = "; ".join(dict.fromkeys(reasons[:_MAX_REASONS]))
    if len(reasons) == 1:
        return f"its signature is not accepted: {shown}"
    return f"none of its {len(reasons)} signatures is accepted: {shown}"
