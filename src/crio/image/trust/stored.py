"""An image that is in the store, judged again when it is to be used: by its kept signatures, and by the keys for its
encrypted layers. Blocking; for the image worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from crio.base.errors import CrioError, DataLoss, NotFound
from crio.base.files import read_bounded
from crio.base.ids import Digest
from crio.image import schema1
from crio.image.artifacts.layout import DIRECTORY, ArtifactLayout
from crio.image.documents import digest_of, parse_document
from crio.image.errors import BadImage, SignatureValidationFailed
from crio.image.source.encrypted import unlock_all
from crio.image.trust.policy import Policy
from crio.image.trust.signatures import MAX_TOTAL, Signature, stored, unpack
from crio.image.trust.verification import check
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Manifest
from crio.storage.records import ImageRecord
from crio.storage.store import Store
from crio.wire.reference import Reference


def verify(
    store: Store,
    image_id: str,
    names: Sequence[Reference],
    policy: Policy | None,
    keys_directory: str,
    artifact_stores: Sequence[str] = (),
) -> None:
    """Raise SignatureValidationFailed unless the image may be used, PermissionDenied if a key is missing.

    `names` are those that it may be asked for under, of which one must be accepted; none: it is judged without a name.
    `artifact_stores` are looked into besides the store's own artifacts. Raises NotFound, BadImage, DataLoss.
    """
    what = str(names[0]) if names else image_id[:12]
    try:
        record = store.image(image_id)
    except NotFound:
        manifests, kept = _artifact([*artifact_stores, store.options.graphroot], image_id)
    else:
        manifests, kept = list(_manifests(store, record)), _kept_signatures(store, record)
    if policy is not None:
        _check(kept, names, policy, manifests, image_id[:12])
    for _, manifest, _ in manifests[:1]:
        if isinstance(manifest, Manifest):
            unlock_all(manifest.layers, keys_directory, what)


_Kept = tuple[Digest, Manifest | Schema1Manifest, bytes]
"""A manifest with its digest, and what signatures of it are made over."""


def _kept_signatures(store: Store, record: ImageRecord) -> Mapping[str, list[Signature]]:
    try:
        return stored(record.metadata, record.big_data_names, lambda key: store.image_big_data(record.id, key))
    except DataLoss as error:
        raise SignatureValidationFailed(f"cannot use image {record.id[:12]}: {error.message}") from None


def _artifact(roots: Sequence[str], image_id: str) -> tuple[list[_Kept], Mapping[str, list[Signature]]]:
    """The same of an artifact. Raises NotFound."""
    layouts = (ArtifactLayout(os.path.join(root, DIRECTORY)) for root in roots)
    artifact = next((found for layout in layouts if (found := layout.by_id(image_id))), None)
    if artifact is None:
        raise NotFound(f"cannot verify {image_id[:12]}: it is not in the store")
    layout = artifact.layout
    digest, data = Digest(artifact.digest), artifact.read("manifest")
    document = parse_document(data, "", f"artifact {image_id[:12]}")
    assert isinstance(document, Manifest)
    try:
        signatures = unpack(read_bounded(layout.signature_path(digest), 2 * MAX_TOTAL))
    except FileNotFoundError:
        signatures = []
    return [(digest, document, data)], {digest: signatures}


def _check(
    kept: Mapping[str, list[Signature]],
    names: Sequence[Reference],
    policy: Policy,
    manifests: Sequence[_Kept],
    what: str,
) -> None:
    failures: list[CrioError] = []
    for name in names or (None,):
        for digest, _, signed in manifests:
            # One image may have come by several manifests; one of them must be signed for the name.
            if name is not None and name.digest is not None and _is_another(name.digest, digest, manifests):
                continue
            signatures: Sequence[Signature] = kept.get(digest, ())
            try:
                check(policy.requirements(name), signatures, signed, name, str(name or what))
                return
            except CrioError as error:
                failures.append(error)
    if not failures:
        raise SignatureValidationFailed(f"cannot use image {what}: the store has no manifest of it")
    raise failures[0]


def _is_another(wanted: Digest, digest: Digest, manifests: Sequence[_Kept]) -> bool:
    """Whether the manifest is not the one that was asked for by its digest; that of an index leaves all open."""
    return digest != wanted and any(own == wanted for own, _, _ in manifests)


def _manifests(store: Store, record: ImageRecord) -> Iterator[_Kept]:
    """The image's manifests, the default one first; indexes are not images."""
    seen: set[Digest] = set()
    for key in sorted(record.big_data_names, key=lambda name: name != "manifest"):
        if key != "manifest" and not key.startswith("manifest-"):
            continue
        data = store.image_big_data(record.id, key)
        try:
            document = parse_document(data, "", f"image {record.id[:12]}")
            signed = schema1.payload(data) if isinstance(document, Schema1Manifest) else data
        except BadImage:
            continue
        digest = digest_of(signed)
        if isinstance(document, Manifest | Schema1Manifest) and digest not in seen:
            seen.add(digest)
            yield digest, document, signed
