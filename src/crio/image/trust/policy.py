"""policy.json: which requirements an image has to meet, found by its name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.image.errors import SignatureValidationFailed
from crio.wire.reference import Reference
from crio.wire.reference import parse as parse_reference

DEFAULT_PATH = "/etc/containers/policy.json"
_LIMIT = 4 << 20
_TRANSPORT = "docker"
_KNOWN = frozenset(("insecureAcceptAnything", "reject", "signedBy", "sigstoreSigned", "signedBaseLayer"))


class _Requirement(msgspec.Struct):
    type: str


_Requirements = list[_Requirement]


class Policy(msgspec.Struct):
    """A policy file. `default` is for what no scope names."""

    default: _Requirements
    transports: dict[str, dict[str, _Requirements]] = {}

    def requirements(self, name: Reference) -> Sequence[_Requirement]:
        """Those of the narrowest scope that holds the image: the reference, its repository, the paths above it, its
        host, a wildcard for the host, the transport, everything."""
        scopes = self.transports.get(_TRANSPORT, {})
        for scope in _scopes(name):
            if scope in scopes:
                return scopes[scope]
        return self.default

    def check(self, name: Reference) -> None:
        """Raise SignatureValidationFailed unless every requirement for the image is met."""
        _meet(self.requirements(name), str(name))

    def check_local(self, transport: str, image: str) -> None:
        """As `check` for an image in a file or directory; scopes below its transport are not told apart."""
        _meet(self.transports.get(transport, {}).get("", self.default), image)


def _meet(requirements: Sequence[_Requirement], image: str) -> None:
    if not requirements:
        raise SignatureValidationFailed(f"cannot use image {image}: the policy's list of requirements is empty")
    for requirement in requirements:
        if requirement.type == "reject":
            raise SignatureValidationFailed(f"cannot use image {image}: the policy rejects it")
        if requirement.type != "insecureAcceptAnything":
            raise SignatureValidationFailed(
                f"cannot use image {image}: the policy asks for {requirement.type}, and signatures are not verified "
                "in this release"
            )


def _scopes(name: Reference) -> Iterator[str]:
    yield str(name)
    scope = name.repository
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]
    host = name.domain
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def parse(data: bytes, path: str) -> Policy:
    """A policy file's content. Raises InvalidArgument, naming what is wrong."""
    try:
        policy = msgspec.json.decode(data, type=Policy)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"cannot use the signature policy {path}: {error}") from None
    scoped = (requirements for scopes in policy.transports.values() for requirements in scopes.values())
    for requirements in (policy.default, *scoped):
        for requirement in requirements:
            if requirement.type not in _KNOWN:
                raise InvalidArgument(
                    f"cannot use the signature policy {path}: {requirement.type!r} is no type of requirement"
                )
    return policy


class Policies:
    """The policy for each namespace, read anew when its file has changed."""

    def __init__(self, signature_policy: str, signature_policy_dir: str) -> None:
        self._path = signature_policy
        self._directory = signature_policy_dir
        self._files: dict[str, tuple[tuple[int, int, int], Policy]] = {}

    def check(self, names: Sequence[Reference], namespace: str) -> None:
        """Raise SignatureValidationFailed unless the policy for the namespace accepts the image under all `names`.

        That is `NAMESPACE.json` in signature_policy_dir, else signature_policy, else the system's file; a node without
        any of them accepts everything. Raises InvalidArgument for a malformed file.
        """
        policy = self._find(namespace)
        if policy is not None:
            for name in names:
                policy.check(name)

    def check_local(self, transport: str, image: str, namespace: str) -> None:
        """As `check`, for an image in a file or directory."""
        policy = self._find(namespace)
        if policy is not None:
            policy.check_local(transport, image)

    def _find(self, namespace: str) -> Policy | None:
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
