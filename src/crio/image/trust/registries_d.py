"""registries.d: where signatures of which images are kept (containers-registries.d(5)).

The files say so for a registry, a namespace or a single image; each key is taken from the narrowest section that has
it. Read for each pull, in the image worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.image.trust import scopes
from crio.wire.reference import Reference

DEFAULT_LOOKASIDE = "file:///var/lib/containers/sigstore"
_SYSTEM = "/etc/containers/registries.d"
_USER = ".config/containers/registries.d"
_LIMIT = 1 << 20
_MAX_FILES = 1000


class Section(msgspec.Struct, rename="kebab"):
    """What one key of the files says. `sigstore` is the former name of `lookaside`."""

    lookaside: str | None = None
    sigstore: str | None = None
    use_sigstore_attachments: bool | None = None


class _File(msgspec.Struct, rename="kebab"):
    default_docker: Section | None = None
    docker: dict[str, Section | None] | None = None


class SignaturePlaces(msgspec.Struct, frozen=True):
    """All files of the directory together."""

    sections: dict[str, Section] = {}
    default: Section | None = None

    def lookaside(self, name: Reference) -> str:
        """The URL below which the signatures of the image's repository lie."""
        for section in self._for(name):
            if url := section.lookaside or section.sigstore:
                return url
        return DEFAULT_LOOKASIDE

    def attached(self, name: Reference) -> bool:
        """Whether sigstore signatures are looked for in the image's own repository."""
        for section in self._for(name):
            if section.use_sigstore_attachments is not None:
                return section.use_sigstore_attachments
        return False

    def _for(self, name: Reference) -> Iterator[Section]:
        for scope in scopes.of_name_in_registries_d(name):
            if scope in self.sections:
                yield self.sections[scope]
        if self.default is not None:
            yield self.default


def load(home: str | None = None) -> SignaturePlaces:
    """The user's directory if there is one (`home`, default $HOME), else the system's.

    Raises InvalidArgument for a malformed file, and if two say something for one key.
    """
    home = os.environ.get("HOME", "") if home is None else home
    user = os.path.join(home, _USER)
    return load_directory(user if home and os.path.isdir(user) else _SYSTEM)


def load_directory(directory: str) -> SignaturePlaces:
    """As `load`, from this directory; without it nothing is configured."""
    sections: dict[str, Section] = {}
    default: Section | None = None
    for path in _files(directory):
        file = _read(path)
        if file.default_docker is not None:
            if default is not None:
                raise InvalidArgument(f"cannot use {path}: another file in {directory} has default-docker already")
            default = file.default_docker
        for name, section in (file.docker or {}).items():
            if name in sections:
                raise InvalidArgument(f"cannot use {path}: another file in {directory} has {name[:200]!r} already")
            sections[name] = section or Section()
    return SignaturePlaces(sections, default)


def _files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".yaml"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidArgument(f"cannot read {directory}: {error.strerror}") from None
    if len(names) > _MAX_FILES:
        raise InvalidArgument(f"cannot use {directory}: it has more than {_MAX_FILES} files")
    return [os.path.join(directory, name) for name in names]


def _read(path: str) -> _File:
    import yaml  # lazy: 20 ms, and most nodes have no such file

    try:
        document: Any = yaml.safe_load(read_bounded(path, _LIMIT))
        return msgspec.convert(document or {}, _File)
    except FileNotFoundError:
        return _File()
    except (OSError, CrioError, yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidArgument(f"cannot use {path}: {' '.join(str(error).split())[:300]}") from None
