"""Which name a signature may be for: the forms of `signedIdentity` (containers-policy.json(5)).

A signature says what image it is meant for. Without a look at that, a signed image of one repository could be passed
off as another's. Pure.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from crio.base.errors import CrioError
from crio.base.regex import regex
from crio.wire import reference
from crio.wire.reference import Reference

_PREFIX = regex(r"[A-Za-z0-9\[][A-Za-z0-9.:\-\[\]]*(?:/[a-z0-9._\-]+)*")


class _Form(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", rename="camel"):
    pass


class MatchExact(_Form, frozen=True, tag="matchExact"):
    """The very name that was asked for."""


class MatchRepoDigestOrExact(_Form, frozen=True, tag="matchRepoDigestOrExact"):
    """As MatchExact; an image asked for by digest may be signed under any name of its repository."""


class MatchRepository(_Form, frozen=True, tag="matchRepository"):
    """Any name of the repository that was asked for."""


class ExactReference(_Form, frozen=True, tag="exactReference"):
    """This name, whatever was asked for."""

    docker_reference: str

    def __post_init__(self) -> None:
        name = _parsed(self.docker_reference, "dockerReference")
        if not name.tag and not name.digest:
            raise ValueError(f"dockerReference {self.docker_reference!r} has neither a tag nor a digest")


class ExactRepository(_Form, frozen=True, tag="exactRepository"):
    """Any name of this repository, whatever was asked for."""

    docker_repository: str

    def __post_init__(self) -> None:
        _parsed(self.docker_repository, "dockerRepository")


class RemapIdentity(_Form, frozen=True, tag="remapIdentity"):
    """As MatchRepoDigestOrExact after `prefix` of the name that was asked for is replaced."""

    prefix: str
    signed_prefix: str

    def __post_init__(self) -> None:
        for text in (self.prefix, self.signed_prefix):
            if not _PREFIX.fullmatch(text):
                raise ValueError(f"{text!r} is no prefix of image names")


Identity: TypeAlias = (
    MatchExact | MatchRepoDigestOrExact | MatchRepository | ExactReference | ExactRepository | RemapIdentity
)


def matches(identity: Identity, asked: Reference | None, signed: str) -> bool:
    """Whether a signature for the name `signed` is good for an image that was asked for as `asked`.

    `asked` is None where the image has no name of a registry: then only the exact forms can match.
    """
    try:
        given = reference.parse(signed)
    except CrioError:
        return False
    match identity:
        case ExactReference(docker_reference=text):
            return _same_name(reference.parse(text), given)
        case ExactRepository(docker_repository=text):
            return reference.parse(text).repository == given.repository
    if asked is None:
        return False
    match identity:
        case MatchExact():
            return _same_name(asked, given)
        case MatchRepository():
            return asked.repository == given.repository
        case RemapIdentity():
            remapped = _remapped(identity, asked)
            return remapped is not None and _same_name_or_digest(remapped, given)
        case _:
            return _same_name_or_digest(asked, given)


def _same_name(one: Reference, other: Reference) -> bool:
    return bool(other.tag or other.digest) and str(one) == str(other)


def _same_name_or_digest(asked: Reference, given: Reference) -> bool:
    if not given.tag and not given.digest:
        return False
    if asked.tag:
        return str(asked) == str(given)
    # That the digest asked for is the image's was checked when the image was received.
    return asked.digest is not None and asked.repository == given.repository


def _remapped(form: RemapIdentity, asked: Reference) -> Reference | None:
    """The name with the other prefix; as it is if it has not got the prefix; None if that makes no full name."""
    name = asked.repository
    if name != form.prefix and not name.startswith(form.prefix + "/"):
        return asked
    text = form.signed_prefix + str(asked)[len(form.prefix) :]
    try:
        parsed = reference.parse(text)
    except CrioError:
        return None
    return parsed if str(parsed) == text else None


def _parsed(text: str, key: str) -> Reference:
    try:
        return reference.parse(text)
    except CrioError as error:
        raise ValueError(f"{key}: {error.message}") from None
