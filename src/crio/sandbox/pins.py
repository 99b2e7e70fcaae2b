"""A pod's namespaces as files: made, and taken away. Blocking; a few milliseconds each."""

from __future__ import annotations

from collections.abc import Mapping

from crio.linux import namespaces
from crio.linux.owned_namespaces import pin_owned
from crio.sandbox.record import SandboxRecord
from crio.spec.oci_runtime import IdMapping


def pin(record: SandboxRecord, sysctls: Mapping[str, str]) -> None:
    """Make the namespaces that the record names, with host name and kernel parameters. Raises OSError."""
    paths = record.namespaces
    hostname = record.hostname if "uts" in paths else None
    if "user" in paths:
        uids, gids = _lines(record.uid_mappings), _lines(record.gid_mappings)
        pin_owned(paths, uids, gids, hostname=hostname, sysctls=sysctls)
    else:
        namespaces.pin(paths, hostname=hostname, sysctls=sysctls)


def unpin(paths: Mapping[str, str]) -> None:
    """Take the files away; fine if they are gone. What still uses a namespace keeps it."""
    for path in paths.values():
        namespaces.unpin(path)


def _lines(mappings: list[IdMapping]) -> list[tuple[int, int, int]]:
    return [(mapping.container_id, mapping.host_id, mapping.size) for mapping in mappings]
