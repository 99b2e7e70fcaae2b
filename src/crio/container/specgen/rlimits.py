"""Resource limits (setrlimit(2)): crio.conf's default_ulimits, and those of an allowed annotation over them.

Without either nothing is set, and the process inherits the daemon's. A limit above the daemon's own hard one cannot be
set without CAP_SYS_RESOURCE, so it is lowered to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from crio.base.errors import InvalidArgument
from crio.security.host import RLIMITS, HostFacts
from crio.spec.annotations import ULIMITS, find
from crio.spec.oci_runtime import Rlimit

_UNLIMITED = (1 << 64) - 1


def resource_limits(
    defaults: tuple[str, ...], annotations: Mapping[str, str], container: str, host: HostFacts, warnings: list[str]
) -> list[Rlimit]:
    """Raises InvalidArgument for a text that is not `name=soft:hard`."""
    limits = dict(_parse(defaults))
    requested = find(annotations, ULIMITS, container)
    if requested:
        limits.update(_parse(tuple(requested.split(","))))
    return [Rlimit(name, *_clamped(name, soft, hard, host, warnings)) for name, (soft, hard) in limits.items()]


@lru_cache(maxsize=64)
def _parse(texts: tuple[str, ...]) -> Mapping[str, tuple[int, int]]:
    limits: dict[str, tuple[int, int]] = {}
    for text in texts:
        name, _, values = text.strip().partition("=")
        full = "RLIMIT_" + name.strip().upper().removeprefix("RLIMIT_")
        soft_text, _, hard_text = values.partition(":")
        soft = _number(soft_text)
        hard = _number(hard_text) if hard_text else soft
        if full not in RLIMITS or soft is None or hard is None:
            raise InvalidArgument(f"cannot use resource limit {text[:100]!r}: the form is nofile=1024:4096")
        if soft > hard:
            raise InvalidArgument(f"cannot use resource limit {text[:100]!r}: the soft limit is above the hard one")
        limits[full] = (soft, hard)
    return limits


def _number(text: str) -> int | None:
    text = text.strip()
    if text in ("-1", "unlimited", "infinity"):
        return _UNLIMITED
    if not (text.isascii() and text.isdecimal()) or len(text) > 20:
        return None
    number = int(text)
    return number if number <= _UNLIMITED else None


def _clamped(name: str, soft: int, hard: int, host: HostFacts, warnings: list[str]) -> tuple[int, int]:
    """(hard, soft), the order of the specification's fields."""
    own_hard = host.rlimits.get(name, (-1, -1))[1]
    if own_hard == -1 or hard <= own_hard or host.may_raise_limits:
        return hard, soft
    warnings.append(f"{name} is lowered from {hard} to {own_hard}: the daemon may not set more than its own limit")
    return own_hard, min(soft, own_hard)
