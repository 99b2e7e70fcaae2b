"""An image that is in the store, judged again when it is to be used: by its kept signatures, and by the keys for its
encrypted layers. Blocking; for the image worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crio.base.errors import CrioError, DataLoss
from crio.base.ids import Digest
from crio.image import schema1
from crio.image.documents import digest_of, parse_document
from crio.image.errors import BadImage, SignatureValidationFailed
from crio.image.source.encrypted import unlock_all
from crio.image.trust.policy import Policy
from crio.image.trust.signatures import Signature, stored
from crio.image.trust.verification import check
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Manifest
from crio.storage.records import ImageRecord
from crio.storage.store import Store
from crio.wire.reference import Reference


def verify(store: Store, image_id: str, names: Sequence[Reference], policy: Policy | None, keys_directory: str) -> None:
    """Raise SignatureValidationFailed unless the image may be used, PermissionDenied if a key is missing.

    `names` are those that it may be asked for under, of which one must be accepted; none: it is judged without a name.
    Raises NotFound, BadImage, DataLoss.
    """
    record = store.image(image_id)
    manifests = list(_manifests(store, record))
    what = str(names[0]) if names else record.id[:12]
    if policy is not None:
        _check(store, record, names, policy, manifests)
    for _, manifest, _ in manifests[:1]:
        if isinstance(manifest, Manifest):
            unlock_all(manifest.layers, keys_directory, what)


_Kept = tuple[Digest, Manifest | Schema1Manifest, bytes]
"""A manifest with its digest, and what signatures of it are made over."""


def _check(
    store: Store, record: ImageRecord, names: Sequence[Reference], policy: Policy, manifests: Sequence[_Kept]
) -> None:
    try:
        kept = stored(record.metadata, record.big_data_names, lambda key: store.image_big_data(record.id, key))
    except DataLoss as error:
        raise SignatureValidationFailed(f"cannot use image {record.id[:12]}: {error.message}") from None
    failures: list[CrioError] = []
    for name in names or (None,):
        for digest, _, signed in manifests:
            # One image may have come by several manifests; one of them must be signed for the name.
            if name is not None and name.digest is not None and _is_another(name.digest, digest, manifests):
                continue
            signatures: Sequence[Signature] = kept.get(digest, ())
            try:
                check(policy.requirements(name), signatures, signed, name, str(name or record.id[:12]))
                return
            except CrioError as error:
                failures.append(error)
    if not failures:
        raise SignatureValidationFailed(f"cannot use image {record.id[:12]}: the store has no manifest of it")
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
