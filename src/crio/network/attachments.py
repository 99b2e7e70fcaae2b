"""Which pods are, or may be, attached to which network: written before the first plug-in runs, removed after the last.

The records lie where a reboot does not clear them, because what plug-ins leave (addresses in use, port rules) lies
there too. Each holds what an undo needs even if the network's configuration is changed or gone by then.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded, remove_temporaries, write_atomic
from crio.base.jsontext import UNREADABLE
from crio.network.pod import INTERFACE

FORMAT = 1
MAX_RECORD = 4 << 20
_SUFFIX = ".json"


class Attachment(msgspec.Struct, omit_defaults=True):
    """One pod in one network. `config` is the text of the network's configuration, empty if it is not known.

    `builtin` tells for each plug-in of the chain whether the built-in implementation was asked to make it.
    """

    pod_id: str
    format: int = FORMAT
    network: str = ""
    interface: str = INTERFACE
    namespace: str = ""
    name: str = ""
    uid: str = ""
    netns: str = ""
    config: str = ""
    arguments: list[tuple[str, str]] = []
    capabilities: dict[str, Any] = {}
    builtin: list[bool] = []


class AttachmentStore:
    """The records below one directory, one file for each pod."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def _path(self, pod_id: str) -> str:
        if "/" in pod_id or pod_id.startswith("."):
            raise InvalidArgument(f"cannot use pod id {pod_id[:80]!r}: it is not a plain name")
        return os.path.join(self._directory, pod_id + _SUFFIX)

    def remove_unfinished(self) -> None:
        """Remove what an earlier process was about to write when it was killed."""
        remove_temporaries(self._directory)

    def save(self, attachment: Attachment) -> None:
        path, data = self._path(attachment.pod_id), msgspec.json.encode(attachment)
        try:
            write_atomic(path, data)
        except FileNotFoundError:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            write_atomic(path, data)

    def load(self, pod_id: str) -> Attachment | None:
        """The record, or None. One that a power cut has damaged still says which pod: the rest is left at defaults."""
        try:
            data = read_bounded(self._path(pod_id), MAX_RECORD)
        except FileNotFoundError:
            return None
        except CrioError:
            return Attachment(pod_id)
        try:
            attachment = msgspec.json.decode(data, type=Attachment)
        except UNREADABLE:
            return Attachment(pod_id)
        return attachment if attachment.pod_id == pod_id else Attachment(pod_id)

    def remove(self, pod_id: str) -> None:
        try:
            os.unlink(self._path(pod_id))
        except FileNotFoundError:
            pass

    def pod_ids(self) -> list[str]:
        """The pods that have a record, in the order of their ids."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted(
            name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and not name.startswith(".")
        )
