"""Results of attachments on disk, in the files that libcni keeps, so that other CNI tools see and undo them too.

One file NETWORK-CONTAINERID-INTERFACE below CACHE/results, of kind cniCacheV1.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec

from crio.base.errors import CrioError
from crio.base.files import read_bounded, remove_temporaries, write_atomic
from crio.base.jsontext import UNREADABLE

KIND = "cniCacheV1"
MAX_ENTRY = 4 << 20
"""Bytes of a cached result: a configuration of 1 MiB in base64 and a result."""


class CachedResult(msgspec.Struct, omit_defaults=True, rename="camel"):
    """`config` is the network's configuration in base64, `cni_args` the pairs of CNI_ARGS."""

    kind: str = ""
    container_id: str = ""
    config: str = ""
    if_name: str = ""
    network_name: str = ""
    netns: str = ""
    cni_args: list[tuple[str, str]] = []
    capability_args: dict[str, Any] = {}
    result: msgspec.Raw = msgspec.Raw(b"null")

    def config_bytes(self) -> bytes:
        """The network's configuration as it was. Raises ValueError."""
        return base64.b64decode(self.config, validate=True)


def cached(
    *,
    container_id: str,
    interface: str,
    network: str,
    netns: str,
    config: bytes,
    arguments: list[tuple[str, str]],
    capabilities: dict[str, Any],
    result: bytes,
) -> CachedResult:
    """The entry for an attachment that was made."""
    return CachedResult(
        KIND,
        container_id,
        base64.b64encode(config).decode(),
        interface,
        network,
        netns,
        arguments,
        capabilities,
        msgspec.Raw(result),
    )


class ResultCache:
    """The results below one directory (libcni: /var/lib/cni)."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, "results")

    def _path(self, network: str, container_id: str, interface: str) -> str:
        return os.path.join(self._directory, f"{network}-{container_id}-{interface}")

    def remove_unfinished(self) -> None:
        """Remove what an earlier process was about to write when it was killed."""
        remove_temporaries(self._directory)

    def save(self, entry: CachedResult) -> None:
        path = self._path(entry.network_name, entry.container_id, entry.if_name)
        data = msgspec.json.encode(entry)
        try:
            write_atomic(path, data)
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            write_atomic(path, data)

    def load(self, network: str, container_id: str, interface: str) -> CachedResult | None:
        """The entry, or None if there is none or it is damaged."""
        return _read(self._path(network, container_id, interface))

    def remove(self, network: str, container_id: str, interface: str) -> None:
        try:
            os.unlink(self._path(network, container_id, interface))
        except FileNotFoundError:
            pass

    def of_container(self, container_id: str) -> list[CachedResult]:
        """The entries of one container, in all networks."""
        part = f"-{container_id}-"
        return [entry for entry in self._entries(part) if entry.container_id == container_id]

    def entries(self) -> list[CachedResult]:
        """Every entry that can be read, whoever made it."""
        return self._entries("")

    def _entries(self, part: str) -> list[CachedResult]:
        try:
            names = sorted(name for name in os.listdir(self._directory) if not name.startswith("."))
        except FileNotFoundError:
            return []
        read = (_read(os.path.join(self._directory, name)) for name in names if part in name)
        return [entry for entry in read if entry is not None and entry.if_name and entry.network_name]


def _read(path: str) -> CachedResult | None:
    try:
        entry = msgspec.json.decode(read_bounded(path, MAX_ENTRY), type=CachedResult)
    except (OSError, *UNREADABLE, CrioError):
        return None
    return entry if entry.kind == KIND else None
