"""Image references: the grammar of the distribution project's reference package, and its normal form.

A reference is `[domain/]path[:tag][@digest]`. A name without a domain is short; its normal form is below docker.io, and
below docker.io/library if it has one component. Which registries a short name is really looked for in is a matter of
configuration and not decided here. Pure.
"""

from __future__ import annotations

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.ids import Digest, parse_digest
from crio.base.regex import regex

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_PATH = 255
MAX_TEXT = 4096

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = regex(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = regex(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BARE_ID = regex(r"[a-f0-9]{64}")


class Reference(msgspec.Struct, frozen=True):
    """A full reference: domain and path, and a tag, a digest, both or neither."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def target(self) -> str:
        """What to ask a registry for: the digest if there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_default_tag(self) -> Reference:
        """The same, or with the tag `latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else Reference(self.domain, self.path, DEFAULT_TAG)

    def canonical(self) -> Reference:
        """The form under which an image is stored: a tag beside a digest is only a note, and goes."""
        if self.digest:
            return Reference(self.domain, self.path, None, self.digest)
        return self.with_default_tag()

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"


def parse(text: str) -> Reference:
    """`text` as a full reference; a short name goes to docker.io. Raises InvalidArgument, naming what is wrong."""
    if not text:
        raise InvalidArgument("cannot use an empty image name")
    if len(text) > MAX_TEXT:
        raise InvalidArgument(f"cannot use image name {text[:100]!r}…: it is longer than {MAX_TEXT} characters")
    if _BARE_ID.fullmatch(text):
        raise InvalidArgument(f"cannot use {text!r} as an image name: 64 hex digits are an image id")
    name, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _bad(text, f"tag {tag[:140]!r} is not 1 to 128 letters, digits, '_', '.' or '-'")
    domain, path = _split_domain(name)
    if not _DOMAIN.fullmatch(domain):
        raise _bad(text, f"{domain!r} is not a host name with an optional port")
    if not _PATH.fullmatch(path):
        if _PATH.fullmatch(path.lower()):
            raise _bad(text, f"repository {path!r} must be lower-case")
        raise _bad(text, f"{path!r} is not a repository path")
    if len(path) > MAX_PATH:
        raise _bad(text, f"the repository path is longer than {MAX_PATH} characters")
    return Reference(domain, path, tag, digest)


def is_short_name(text: str) -> bool:
    """Whether `text` names no registry."""
    first, slash, _ = text.partition("/")
    return not (slash and _is_domain(first))


def _split_tag(name: str) -> tuple[str, str | None]:
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (name, None)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    domain, path = (first, rest) if slash and _is_domain(first) else (DEFAULT_DOMAIN, name)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _is_domain(first: str) -> bool:
    """The first component is a host if it could not be a path component: a dot, a port, a capital, or localhost."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _bad(text: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"cannot use image name {text[:200]!r}: {reason}")
