"""policy.json: which requirements an image has to meet, found by its name (containers-policy.json(5)).

What needs no look at a signature is decided here, from memory; `verification` does the rest in the image worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.image.errors import SignatureValidationFailed
from crio.image.trust import scopes, strict_json
from crio.image.trust.requirements import NEEDS_SIGNATURE, Reject, Requirement, SignedBaseLayer, key_files
from crio.wire.reference import Reference
from crio.wire.reference import parse as parse_reference

DEFAULT_PATH = "/etc/containers/policy.json"
_LIMIT = 4 << 20

Requirements = Sequence[Requirement]
Stamp = tuple[tuple[str, int, int, int], ...]
"""Of files: path, time of change, size, inode."""


class Policy(msgspec.Struct, forbid_unknown_fields=True, eq=False):
    """A policy file. `default` is for what no scope names."""

    default: tuple[Requirement, ...]
    transports: dict[str, dict[str, tuple[Requirement, ...]]] = {}

    def __post_init__(self) -> None:
        _check_number(self.default, "default")
        for transport, by_scope in self.transports.items():
            for scope, requirements in by_scope.items():
                scopes.check(transport, scope)
                _check_number(requirements, f"{transport}:{scope}")

    def requirements(self, name: Reference | None) -> Requirements:
        """Those of the narrowest scope that holds the image; None: those of images in a registry without a name."""
        return self._narrowest(scopes.REGISTRY, scopes.of_name(name) if name else ("",))

    def requirements_of_file(self, transport: str, path: str) -> Requirements:
        """As `requirements`, for an image in a file or directory."""
        return self._narrowest(transport, scopes.of_path(path))

    def _narrowest(self, transport: str, candidates: Iterable[str]) -> Requirements:
        by_scope = self.transports.get(transport, {})
        for scope in candidates:
            if scope in by_scope:
                return by_scope[scope]
        return self.default


def need_signatures(requirements: Requirements, what: str) -> bool:
    """Whether signatures decide over the image. Raises SignatureValidationFailed if it is refused whatever they say."""
    for requirement in requirements:
        if isinstance(requirement, Reject):
            raise SignatureValidationFailed(f"cannot use image {what}: the policy rejects it")
        if isinstance(requirement, SignedBaseLayer):
            raise SignatureValidationFailed(
                f"cannot use image {what}: the policy asks for signedBaseLayer, which no image can have"
            )
    return any(isinstance(requirement, NEEDS_SIGNATURE) for requirement in requirements)


def stamp_of(paths: Iterable[str]) -> Stamp:
    """What changes when one of the files does; files that are not there count too."""
    found = []
    for path in paths:
        try:
            facts = os.stat(path)
            found.append((path, facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError as error:
            found.append((path, 0, 0, -(error.errno or 1)))
    return tuple(found)


def stamp_of_keys(requirements: Requirements) -> Stamp:
    """What changes when a key does that the requirements name by its path."""
    return stamp_of(path for requirement in requirements for path in key_files(requirement))


def parse(data: bytes, path: str) -> Policy:
    """A policy file's content. Raises InvalidArgument, naming what is wrong."""
    try:
        return strict_json.decode(data, Policy)
    except ValueError as error:
        raise InvalidArgument(f"cannot use the signature policy {path}: {error}") from None


def _check_number(requirements: Requirements, where: str) -> None:
    if not requirements:
        raise ValueError(f"the list of requirements of {where[:200]!r} is empty")


class Policies:
    """The policy for each namespace, read anew when its file has changed."""

    def __init__(self, signature_policy: str, signature_policy_dir: str) -> None:
        self._path = signature_policy
        self._directory = signature_policy_dir
        self._files: dict[str, tuple[tuple[int, int, int], Policy]] = {}

    def find(self, namespace: str) -> Policy | None:
        """`NAMESPACE.json` in signature_policy_dir, else signature_policy, else the system's file; None without any,
        where every image is accepted.

        Raises SignatureValidationFailed if it cannot be read, InvalidArgument if it is malformed.
        """
        if namespace and self._directory and "/" not in namespace:
            policy = self._read(os.path.join(self._directory, f"{namespace}.json"))
            if policy is not None:
                return policy
        if self._path:
            policy = self._read(self._path)
            if policy is None:
                raise SignatureValidationFailed(f"cannot use any image: signature_policy {self._path} does not exist")
            return policy
        return self._read(DEFAULT_PATH)

    def refuse_early(self, names: Sequence[Reference], namespace: str) -> None:
        """Raise SignatureValidationFailed if the policy refuses an image under all of `names`, whatever its signatures.

        Nothing needs to be fetched then. Raises InvalidArgument for a malformed policy.
        """
        policy = self.find(namespace)
        failures: list[CrioError] = []
        if policy is None:
            return
        for name in names:
            try:
                need_signatures(policy.requirements(name), str(name))
                return
            except SignatureValidationFailed as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def refuse_file_early(self, transport: str, image: str, namespace: str) -> None:
        """As `refuse_early`, for an image in a file or directory, `TRANSPORT:PATH[:NAME]`."""
        policy = self.find(namespace)
        if policy is not None:
            path = image.partition(":")[2].partition(":")[0]
            need_signatures(policy.requirements_of_file(transport, path), image)

    def _read(self, path: str) -> Policy | None:
        try:
            facts = os.stat(path)
            stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                known = self._files[path] = (stamp, parse(read_bounded(path, _LIMIT), path))
            return known[1]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SignatureValidationFailed(f"cannot read the signature policy {path}: {error.strerror}") from None


def references(names: Iterable[str]) -> list[Reference]:
    """The names of an image as references; one that is none is left out."""
    found = []
    for name in names:
        try:
            found.append(parse_reference(name))
        except CrioError:
            continue
    return found
