"""Which capabilities a container gets (SPEC 5.1; CVE-2018-1000400, CVE-2022-27652)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.linux.caps import NAMES
from crio.spec.oci_runtime import Capabilities

_NUMBER = {name: number for number, name in enumerate(NAMES)}


class Resolved(msgspec.Struct, frozen=True):
    """`sets` is for the specification; `withheld` are names that were asked for and that the daemon has not itself."""

    sets: Capabilities
    withheld: tuple[str, ...]


def full_name(name: str) -> str:
    """The kernel's name of a capability given as "SYS_ADMIN" or "cap_sys_admin". Raises InvalidArgument."""
    upper = name.upper()
    full = upper if upper.startswith("CAP_") else "CAP_" + upper
    if full not in _NUMBER:
        raise InvalidArgument(f"cannot use capability {name[:60]!r}: there is none of this name")
    return full


def resolve(
    add: Sequence[str],
    drop: Sequence[str],
    *,
    defaults: Iterable[str],
    available: frozenset[str],
    known: Sequence[str],
    privileged: bool = False,
    inheritable: bool = False,
    ambient: Sequence[str] = (),
) -> Resolved:
    """The five sets of a container's first process.

    `ALL` in `add` means every one in `known` (the kernel's), `ALL` in `drop` takes the defaults away; single names
    count after both. What is not in `available` (the daemon's own) is withheld, since a runtime would fail to set it.
    The inheritable set stays empty unless crio.conf asks for it or `ambient` ones are requested, which need it.
    """
    if privileged:
        wanted = set(known)
    else:
        add_all, drop_all = _has_all(add), _has_all(drop)
        wanted = set() if drop_all else {full_name(name) for name in defaults}
        if add_all and not drop_all:
            wanted = set(known)
        wanted |= {full_name(name) for name in add if name.upper() != "ALL"}
        wanted -= {full_name(name) for name in drop if name.upper() != "ALL"}
        wanted |= {full_name(name) for name in ambient}
    granted = wanted & available
    names = sorted(granted, key=_NUMBER.__getitem__)
    raised = [name for name in names if name in {full_name(name) for name in ambient}] if ambient else []
    sets = Capabilities(
        bounding=names,
        effective=names,
        permitted=names,
        inheritable=names if inheritable else raised,
        ambient=raised,
    )
    return Resolved(sets, tuple(sorted(wanted - granted)))


def _has_all(names: Sequence[str]) -> bool:
    return any(name.upper() == "ALL" for name in names)
