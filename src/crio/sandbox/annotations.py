"""Which annotations of a pod or container count: those with a meaning only if crio.conf allows them.

A handler's or a workload's allowed_annotations lists them by name. All others pass: they mean nothing to this daemon or
to a runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from crio.config.tables.handler import RuntimeHandler, Workload
from crio.spec.annotations import FEATURES, OLDER, RUNTIME_OWNED

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


def of_pod(
    annotations: Mapping[str, str], handler: RuntimeHandler, workloads: Mapping[str, Workload]
) -> dict[str, str]:
    """A pod's annotations without those that its handler and workload do not allow."""
    return filtered(annotations, allowed_for(handler.allowed_annotations, workloads, annotations))


def of_image(
    annotations: Mapping[str, str],
    pod_annotations: Mapping[str, str],
    handler: RuntimeHandler,
    workloads: Mapping[str, Workload],
) -> dict[str, str]:
    """An image's annotations without those that the handler and workload of the pod do not allow."""
    return filtered(annotations, allowed_for(handler.allowed_annotations, workloads, pod_annotations))


@lru_cache(maxsize=64)
def guarded_prefixes(allowed: frozenset[str]) -> tuple[str, ...]:
    """Beginnings of the names that are not allowed."""
    permitted = {_NEWER.get(name, name) for name in allowed}
    names = [name for name in FEATURES | RUNTIME_OWNED if name not in permitted]
    return tuple(sorted({*names, *(OLDER[name] for name in names if name in OLDER)}))
