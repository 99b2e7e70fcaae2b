"""The decision over one image on its way in: its signatures are looked for, judged, and handed on to be kept with it.

They are kept even where this policy asks for none: the image may be used in a namespace whose policy does. Blocking;
for the image worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from crio.base.errors import Cancelled, CrioError
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.registry.client import RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.source.files import Files
from crio.image.trust import attached, lookaside
from crio.image.trust.policy import Requirements, need_signatures
from crio.image.trust.registries_d import SignaturePlaces
from crio.image.trust.requirements import SignedBy
from crio.image.trust.signatures import MAX_SIGNATURE, MAX_SIGNATURES, Signature, Unreadable, from_blob
from crio.image.trust.verification import check
from crio.wire.reference import Reference

log = logging.getLogger(__name__)

Find = Callable[[Digest], list[Signature]]
"""The signatures of the manifest with this digest."""


class Admission:
    """One image to decide over. `name` and `what` as `verification.check` has them."""

    def __init__(self, requirements: Requirements, name: Reference | None, what: str, find: Find) -> None:
        self._requirements = requirements
        self._name = name
        self._what = what
        self._find = find

    def admit(self, manifest: bytes, digest: Digest) -> Sequence[Signature]:
        """The image's signatures. `manifest` is what they are of, without those that schema 1 has inside.

        Raises SignatureValidationFailed if the policy does not accept it, and if signatures are needed but cannot be
        had, what the registry's client raises.
        """
        needed = need_signatures(self._requirements, self._what)
        try:
            signatures = self._find(digest)
        except Cancelled:
            raise
        except CrioError as error:
            if needed:
                raise
            log.warning("%s is stored without its signatures: %s", self._what, error.message)
            return ()
        check(self._requirements, signatures, manifest, self._name, self._what)
        return signatures


def in_registry(
    client: RegistryClient,
    place: Reference,
    places: SignaturePlaces,
    requirements: Requirements,
    http: HttpClient,
    scope: Cancellation,
) -> Find:
    """Signatures of what is pulled from `place`: beside the registry, in it, and by its own extension if need be."""

    def find(digest: Digest) -> list[Signature]:
        found = lookaside.read(places.lookaside(place), place, digest, http, scope)
        if not found and any(isinstance(requirement, SignedBy) for requirement in requirements):
            answer = client.signature_list(digest)
            found = lookaside.from_extension(answer) if answer is not None else []
        if places.attached(place):
            found += attached.read(client, digest, str(place))
        return found

    return find


def in_directory(files: Files) -> Find:
    """Signatures in a `dir:` directory: signature-1 and so on, behind the digest if there are several images."""

    def find(digest: Digest) -> list[Signature]:
        for prefix in (f"{digest.partition(':')[2]}.signature-", "signature-"):
            found: list[Signature] = []
            for number in range(1, MAX_SIGNATURES + 1):
                if not files.exists(f"{prefix}{number}"):
                    break
                try:
                    found.append(from_blob(files.read(f"{prefix}{number}", MAX_SIGNATURE)))
                except Unreadable:
                    continue
            if found:
                return found
        return []

    return find


def nowhere(digest: Digest) -> list[Signature]:
    """For sources that have no place for signatures."""
    return []
