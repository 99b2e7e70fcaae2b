"""Paths of /proc and /sys that a container sees empty or read-only."""

from __future__ import annotations

from collections.abc import Sequence

from crio.base.errors import InvalidArgument
from crio.security.host import HostFacts


def masked_paths(requested: Sequence[str], host: HostFacts, *, privileged: bool) -> list[str]:
    """The request's masked paths with the built-in ones; none for an empty request (procMount: Unmasked)."""
    if privileged or not requested:
        return []
    return sorted({*host.masked_paths, *_checked(requested, "masked")})


def readonly_paths(requested: Sequence[str], *, privileged: bool) -> list[str]:
    return [] if privileged else _checked(requested, "read-only")


def _checked(paths: Sequence[str], kind: str) -> list[str]:
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"cannot create container: {kind} path {path[:200]!r} is not an absolute path")
    return list(paths)
