"""Paths of /proc and /sys that a container sees empty or read-only."""

from __future__ import annotations

from collections.abc import Sequence

from crio.security.host import HostFacts


def masked_paths(requested: Sequence[str], host: HostFacts, *, privileged: bool) -> list[str]:
    """The request's masked paths with the built-in ones; none for an empty request (procMount: Unmasked)."""
    if privileged or not requested:
        return []
    return sorted({*host.masked_paths, *requested})


def readonly_paths(requested: Sequence[str], *, privileged: bool) -> list[str]:
    return [] if privileged else list(requested)
