"""Sigstore signatures in an image's own repository: under a tag made from its digest, or as referrers of its manifest.

The tag is what cosign and podman write; referrers are the form of the distribution specification 1.1, with its own tag
for registries that do not know them. Blocking; for the image worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from crio.base.errors import CrioError, NotFound
from crio.base.ids import Digest
from crio.image.documents import Served, check_descriptor, parse_document
from crio.image.trust.signatures import COSIGN_PAYLOAD, MAX_SIGNATURE, MAX_SIGNATURES, SigstoreSignature
from crio.spec.oci_image import Descriptor, Index, Manifest

_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
"""Artifact type of a referrer whose layers are signatures."""
_MAX_REFERRERS = 64


class Repository(Protocol):
    """What is needed of a registry client."""

    def manifest(self, target: str) -> Served: ...

    def referrers(self, digest: Digest) -> Served | None: ...

    def document(self, digest: Digest, size: int, limit: int = ...) -> bytes: ...


def read(repository: Repository, digest: Digest, what: str) -> list[SigstoreSignature]:
    """All sigstore signatures of a manifest. Raises BadImage, and what the registry client raises."""
    found: list[SigstoreSignature] = []
    for manifest in _manifests(repository, digest, what):
        for layer in manifest.layers:
            if layer.media_type != COSIGN_PAYLOAD or len(found) >= MAX_SIGNATURES:
                continue
            payload = repository.document(check_descriptor(layer, f"signature of {what}"), layer.size, MAX_SIGNATURE)
            found.append(SigstoreSignature(layer.media_type, payload, layer.annotations or {}))
    return found


def _manifests(repository: Repository, digest: Digest, what: str) -> Iterator[Manifest]:
    algorithm, _, hexadecimal = digest.partition(":")
    tagged = _find(repository, f"{algorithm}-{hexadecimal}.sig")
    if tagged is not None:
        yield from _as_manifest(tagged, what)
    for entry in _referrers(repository, digest, what)[:_MAX_REFERRERS]:
        if (entry.artifact_type or "") == _ARTIFACT:
            referrer = _find(repository, check_descriptor(entry, f"referrer of {what}"))
            for manifest in _as_manifest(referrer, what) if referrer else ():
                if manifest.subject is not None and manifest.subject.digest == digest:
                    yield manifest


def _referrers(repository: Repository, digest: Digest, what: str) -> tuple[Descriptor, ...]:
    served = repository.referrers(digest) or _find(repository, digest.replace(":", "-"))
    if served is None:
        return ()
    document = parse_document(served.data, served.media_type, f"referrers of {what}")
    return document.manifests if isinstance(document, Index) else ()


def _find(repository: Repository, tag: str) -> Served | None:
    try:
        return repository.manifest(tag)
    except NotFound:
        return None


def _as_manifest(served: Served, what: str) -> Iterator[Manifest]:
    try:
        document = parse_document(served.data, served.media_type, f"signatures of {what}")
    except CrioError:
        return
    if isinstance(document, Manifest):
        yield document
