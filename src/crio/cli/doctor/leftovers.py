"""What carries the id of a pod or container which the daemon does not know: namespaces, cgroups, records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, ok, warning

_ID = re.compile(r"[0-9a-f]{64}")
_GROUP = re.compile(r"crio-(?:conmon-)?([0-9a-f]{64})(?:\.scope)?")
_NAMESPACES = ("netns", "ipcns", "utsns", "userns", "pidns")
_SHOWN = 3


def check(patient: Patient) -> Iterator[Finding]:
    if patient.loaded is None:
        return
    from crio.cli.doctor.questions import ask_known

    try:
        known = ask_known(patient.socket)
    except CrioError:
        return  # nothing can be told apart without the daemon, and that it does not answer is said elsewhere
    config = patient.loaded.config
    found = {
        "namespaces": [
            path
            for kind in _NAMESPACES
            for path in _named_by_id(os.path.join(config.runtime.namespaces_dir, kind))
            if os.path.basename(path) not in known.sandboxes
        ],
        "records of pods": _unknown(
            os.path.join(config.runtime.container_attach_socket_dir, "sandboxes"), known.sandboxes
        ),
        "records of containers": _unknown(
            os.path.join(config.runtime.container_attach_socket_dir, "containers"), known.containers
        ),
        "network attachments": [
            path
            for path in _entries(os.path.join(_persistent(config.crio.clean_shutdown_file), "network"))
            if os.path.basename(path).removesuffix(".json") not in known.sandboxes
        ],
        "cgroups": [
            path for path, owner in _groups("/sys/fs/cgroup") if owner not in known.sandboxes | known.containers
        ],
    }
    for kind, paths in found.items():
        if paths:
            shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
            yield warning(
                "leftovers",
                f"{len(paths)} {kind} belong to no pod or container of this daemon: {shown}",
                "restart the daemon, which removes what is its own; the rest belongs to another runtime or daemon",
            )
    if not any(found.values()):
        yield ok("leftovers", f"none beside {len(known.sandboxes)} pods and {len(known.containers)} containers")


def _persistent(clean_shutdown_file: str) -> str:
    return os.path.dirname(clean_shutdown_file) or "/var/lib/crio"


def _unknown(directory: str, known: frozenset[str]) -> list[str]:
    return [path for path in _named_by_id(directory) if os.path.basename(path) not in known]


def _named_by_id(directory: str) -> list[str]:
    return [path for path in _entries(directory) if _ID.fullmatch(os.path.basename(path))]


def _entries(directory: str) -> list[str]:
    try:
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    except OSError:
        return []


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """Control groups with an id in their name, and the id; each once, whatever the number of hierarchies."""
    seen: set[str] = set()
    for directory, names, _ in os.walk(root):
        for name in names:
            match = _GROUP.fullmatch(name)
            if match is not None and name not in seen:
                seen.add(name)
                yield os.path.join(directory, name), match[1]
