"""Which scopes of a policy an image belongs to, from the narrowest to the widest (containers-policy.json(5)). Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from crio.wire.reference import Reference

REGISTRY = "docker"
"""The transport of everything that has a registry's name."""

_BY_PATH = ("dir", "oci", "oci-archive", "sif")
_WITHOUT_SCOPES = ("docker-archive", "tarball")


def of_name(name: Reference) -> Iterator[str]:
    """The name itself, its repository, the paths above it, its host, wildcards for that, and the whole transport."""
    yield str(name)
    yield from _namespaces(name)
    host = name.domain.partition(":")[0] if not name.domain.startswith("[") else ""
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def of_name_in_registries_d(name: Reference) -> Iterator[str]:
    """The same without wildcards: what the keys below `docker` in registries.d may be."""
    yield str(name)
    yield from _namespaces(name)


def of_path(path: str) -> Iterator[str]:
    """The file or directory, those above it, and the whole transport."""
    scope = os.path.realpath(path)
    while scope not in ("/", ""):
        yield scope
        scope = os.path.dirname(scope)
    yield ""


def check(transport: str, scope: str) -> None:
    """Raises ValueError for a scope that no image of the transport could ever have."""
    if not scope:
        return
    if transport in _WITHOUT_SCOPES:
        raise ValueError(f"{transport} has no scopes but the empty one, and not {scope[:200]!r}")
    if transport in _BY_PATH and (not scope.startswith("/") or scope == "/" or os.path.normpath(scope) != scope):
        raise ValueError(f"{scope[:200]!r} is no scope of {transport}: that takes clean absolute paths below /")


def _namespaces(name: Reference) -> Iterator[str]:
    scope = name.repository
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]
