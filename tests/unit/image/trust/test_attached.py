"""Sigstore signatures in the repository: under the tag, and as referrers by API or tag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from crio.base.errors import NotFound
from crio.base.ids import Digest
from crio.image.documents import Served, digest_of, verify
from crio.image.errors import BadImage
from crio.image.trust import attached
from crio.image.trust.signatures import COSIGN_PAYLOAD, SigstoreSignature
from crio.spec import oci_image

DIGEST = Digest("sha256:" + "a" * 64)
TAG = f"sha256-{'a' * 64}"
KIND = "application/vnd.dev.cosign.artifact.sig.v1+json"


class Repository:
    """A repository's documents and blobs in memory."""

    def __init__(self, *, api: bool = False) -> None:
        self.documents: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.api = api

    def manifest(self, target: str) -> Served:
        if target not in self.documents:
            raise NotFound(f"no {target}")
        data = self.documents[target]
        return Served(data, json.loads(data)["mediaType"])

    def referrers(self, digest: Digest) -> Served | None:
        return self.manifest(f"referrers/{digest}") if self.api else None

    def document(self, digest: Digest, size: int, limit: int = 4 << 20) -> bytes:
        data = self.blobs[digest]
        assert len(data) <= limit
        verify(data, digest, "blob")
        return data

    def put(self, tag: str, value: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = digest_of(data)
        self.documents[tag] = self.documents[digest] = data
        return {"mediaType": value["mediaType"], "digest": digest, "size": len(data)}

    def signatures(self, tag: str, *payloads: bytes, kind: str = COSIGN_PAYLOAD, **fields: Any) -> dict[str, Any]:
        layers = []
        for payload in payloads:
            digest = digest_of(payload)
            self.blobs[digest] = payload
            notes = {"note": payload.decode()}
            layers.append({"mediaType": kind, "digest": digest, "size": len(payload), "annotations": notes})
        config = {"mediaType": oci_image.CONFIG, "digest": DIGEST, "size": 2}
        value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "config": config, "layers": layers, **fields}
        return self.put(tag, value)

    def index(self, tag: str, *entries: Mapping[str, Any]) -> None:
        self.put(tag, {"schemaVersion": 2, "mediaType": oci_image.INDEX, "manifests": entries})


def payloads(repository: Repository) -> list[bytes]:
    return [signature.payload for signature in attached.read(repository, DIGEST, "x")]


def test_nothing() -> None:
    assert payloads(Repository()) == []


def test_under_the_tag() -> None:
    repository = Repository()
    repository.signatures(f"{TAG}.sig", b"one", b"two")
    assert attached.read(repository, DIGEST, "x")[0] == SigstoreSignature(COSIGN_PAYLOAD, b"one", {"note": "one"})
    assert payloads(repository) == [b"one", b"two"]
    repository.signatures(f"{TAG}.sig", b"other", kind="application/vnd.dsse.envelope.v1+json")
    assert payloads(repository) == []


@pytest.mark.parametrize("api", [True, False])
def test_referrers(api: bool) -> None:
    repository = Repository(api=api)
    subject = {"mediaType": oci_image.MANIFEST, "digest": DIGEST, "size": 1}
    mine = repository.signatures("a", b"mine", subject=subject, artifactType=KIND)
    foreign = repository.signatures("b", b"foreign", subject={**subject, "digest": "sha256:" + "b" * 64})
    sbom = repository.signatures("c", b"sbom", subject=subject)
    gone = {**mine, "digest": "sha256:" + "c" * 64}
    entries = [{**entry, "artifactType": KIND} for entry in (mine, foreign, gone)]
    repository.index(f"referrers/{DIGEST}" if api else TAG, *entries, {**sbom, "artifactType": "text/spdx"})
    repository.signatures(f"{TAG}.sig", b"tagged")
    assert payloads(repository) == [b"tagged", b"mine"]


def test_what_is_no_manifest() -> None:
    repository = Repository()
    repository.index(f"{TAG}.sig")
    repository.signatures(TAG, b"an image of that name")
    assert payloads(repository) == []
    repository.documents[TAG] = b'{"mediaType": "text/plain"}'
    with pytest.raises(BadImage):
        payloads(repository)
