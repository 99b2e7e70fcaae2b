"""Which annotations of a pod or container count: those with a meaning only if crio.conf allows them.

A handler's or a workload's allowed_annotations lists them by name. All others pass: they mean nothing to this daemon or
to a runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from crio.base.errors import InvalidArgument
from crio.config.tables.handler import Workload
from crio.container.specgen.annotation_names import FEATURES, OLDER, RUNTIME_OWNED

_NEWER = {older: newer for newer, older in OLDER.items()}


def allowed_for(
    handler_allowed: Iterable[str], workloads: Mapping[str, Workload], pod_annotations: Mapping[str, str]
) -> frozenset[str]:
    """The names that a pod may use: its handler's, and those of the workload that it activates."""
    allowed = set(handler_allowed)
    workload = active_workload(workloads, pod_annotations)
    if workload is not None:
        allowed.update(workload.allowed_annotations)
    return frozenset(allowed)


def active_workload(workloads: Mapping[str, Workload], pod_annotations: Mapping[str, str]) -> Workload | None:
    """The first workload whose activation annotation the pod has, with any value."""
    for workload in workloads.values():
        if workload.activation_annotation and workload.activation_annotation in pod_annotations:
            return workload
    return None


def filtered(annotations: Mapping[str, str], allowed: frozenset[str]) -> dict[str, str]:
    """The annotations without those that need to be allowed and are not. Allowing a name allows both its spellings."""
    guarded = guarded_prefixes(allowed)
    return {name: value for name, value in annotations.items() if not name.startswith(guarded)}


@lru_cache(maxsize=64)
def guarded_prefixes(allowed: frozenset[str]) -> tuple[str, ...]:
    """Beginnings of the names that are not allowed."""
    permitted = {_NEWER.get(name, name) for name in allowed}
    names = [name for name in FEATURES | RUNTIME_OWNED if name not in permitted]
    return tuple(sorted({*names, *(OLDER[name] for name in names if name in OLDER)}))


def check_allowed(names: Iterable[str]) -> None:
    """Check an allowed_annotations list of crio.conf. Raises InvalidArgument for a name that needs no permission."""
    known = FEATURES | RUNTIME_OWNED | frozenset(OLDER.values())
    for name in names:
        if name not in known:
            raise InvalidArgument(f"cannot use allowed_annotations: {name!r} is no annotation with a special meaning")
