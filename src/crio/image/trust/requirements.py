"""The requirements that a policy can have for an image, as policy.json writes them (containers-policy.json(5)).

What contradicts itself is refused when it is read, not when the first image comes. Pure.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, field

from crio.image.trust.identity import Identity, MatchRepoDigestOrExact

_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")


class _Requirement(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", rename="camel", kw_only=True):
    pass


class Accept(_Requirement, frozen=True, tag="insecureAcceptAnything"):
    """Met by every image."""


class Reject(_Requirement, frozen=True, tag="reject"):
    """Met by none."""


class SignedBaseLayer(_Requirement, frozen=True, tag="signedBaseLayer"):
    """Known to the format, and met by no image: nobody ever defined how such a signature looks."""

    base_layer_identity: Identity


class SignedBy(_Requirement, frozen=True, tag="signedBy"):
    """An OpenPGP signature by one of these keys, for the right name."""

    key_type: str
    key_path: str | None = None
    key_paths: tuple[str, ...] | None = None
    key_data: bytes | None = None
    signed_identity: Identity = field(default_factory=MatchRepoDigestOrExact)

    def __post_init__(self) -> None:
        if self.key_type not in _KEY_TYPES:
            raise ValueError(f"keyType {self.key_type!r} is not known")
        _exactly_one(self, "keyPath", "keyPaths", "keyData")


class Fulcio(Struct, frozen=True, forbid_unknown_fields=True, rename={"ca_path": "caPath", "ca_data": "caData",
        "oidc_issuer": "oidcIssuer", "subject_email": "subjectEmail"}, kw_only=True):  # fmt: skip
    """The signer proved to a certificate authority of the Fulcio kind who they are."""

    ca_path: str | None = None
    ca_data: bytes | None = None
    oidc_issuer: str
    subject_email: str

    def __post_init__(self) -> None:
        _exactly_one(self, "caPath", "caData")
        if not self.oidc_issuer or not self.subject_email:
            raise ValueError("fulcio needs oidcIssuer and subjectEmail")


class Pki(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The signer has a certificate of some other authority."""

    ca_roots_path: str | None = None
    ca_roots_data: bytes | None = None
    ca_intermediates_path: str | None = None
    ca_intermediates_data: bytes | None = None
    subject_email: str = ""
    subject_hostname: str = ""

    def __post_init__(self) -> None:
        _exactly_one(self, "caRootsPath", "caRootsData")
        _at_most_one(self, "caIntermediatesPath", "caIntermediatesData")
        if not self.subject_email and not self.subject_hostname:
            raise ValueError("pki needs subjectEmail or subjectHostname")


_REKOR = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")


class SigstoreSigned(_Requirement, frozen=True, tag="sigstoreSigned"):
    """A sigstore (cosign) signature by one of these keys, or by whom a certificate names, for the right name."""

    key_path: str | None = None
    key_paths: tuple[str, ...] | None = None
    key_data: bytes | None = None
    key_datas: tuple[bytes, ...] | None = None
    fulcio: Fulcio | None = None
    pki: Pki | None = None
    rekor_public_key_path: str | None = None
    rekor_public_key_paths: tuple[str, ...] | None = None
    rekor_public_key_data: bytes | None = None
    rekor_public_key_datas: tuple[bytes, ...] | None = None
    signed_identity: Identity = field(default_factory=MatchRepoDigestOrExact)

    def __post_init__(self) -> None:
        _exactly_one(self, "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki")
        _at_most_one(self, *_REKOR)
        if self.fulcio is not None and not self.asks_rekor:
            raise ValueError(f"fulcio needs one of {', '.join(_REKOR)}: its certificates are short-lived")
        if self.pki is not None and self.asks_rekor:
            raise ValueError("pki cannot be used together with a Rekor key")

    @property
    def asks_rekor(self) -> bool:
        return bool(_given(self, _REKOR))


Requirement: TypeAlias = Accept | Reject | SignedBy | SignedBaseLayer | SigstoreSigned

NEEDS_SIGNATURE = (SignedBy, SigstoreSigned)


def key_files(requirement: Requirement) -> list[str]:
    """The files that decide over this requirement besides the policy itself."""
    match requirement:
        case SignedBy():
            return [*_one(requirement.key_path), *(requirement.key_paths or ())]
        case SigstoreSigned(fulcio=fulcio, pki=pki):
            return [
                *_one(requirement.key_path),
                *(requirement.key_paths or ()),
                *_one(requirement.rekor_public_key_path),
                *(requirement.rekor_public_key_paths or ()),
                *_one(fulcio.ca_path if fulcio else None),
                *_one(pki.ca_roots_path if pki else None),
                *_one(pki.ca_intermediates_path if pki else None),
            ]
        case _:
            return []


def _one(path: str | None) -> list[str]:
    return [path] if path else []


def _given(value: Struct, keys: tuple[str, ...]) -> list[str]:
    by_key = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
    found = []
    for key in keys:
        content = getattr(value, by_key[key])
        if content is not None:
            if not content and not isinstance(content, Struct):
                raise ValueError(f"{key} is empty")
            found.append(key)
    return found


def _exactly_one(value: Struct, *keys: str) -> None:
    if len(_given(value, keys)) != 1:
        raise ValueError(f"exactly one of {', '.join(keys)} must be given")


def _at_most_one(value: Struct, *keys: str) -> None:
    if len(_given(value, keys)) > 1:
        raise ValueError(f"no more than one of {', '.join(keys)} can be given")
