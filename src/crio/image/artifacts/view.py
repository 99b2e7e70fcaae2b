"""All artifacts of a node: the read-only stores first, then the writable one. For the event loop's thread."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from crio.base.errors import CrioError, FailedPrecondition
from crio.image.artifacts.layout import DIRECTORY, ArtifactInfo, ArtifactLayout
from crio.image.pins import Pins
from crio.wire.reference import Reference

log = logging.getLogger(__name__)

UserOf = Callable[[str], str]
"""Who mounts the artifact with this id: a container's name, "" if nobody does."""


class Artifacts:
    def __init__(self, graphroot: str, additional: Sequence[str]) -> None:
        self._own = ArtifactLayout(os.path.join(graphroot, DIRECTORY))
        self._others = [ArtifactLayout(os.path.join(path, DIRECTORY), read_only=True) for path in additional]
        self.user_of: UserOf = lambda id: ""

    def all(self, pins: Pins) -> Sequence[ArtifactInfo]:
        """Each artifact once, with its pin."""
        found: dict[str, ArtifactInfo] = {}
        for layout in (*self._others, self._own):
            for artifact in _readable(layout):
                found.setdefault(artifact.id, _pinned(artifact, pins))
        return list(found.values())

    def find(self, name: Reference, pins: Pins) -> ArtifactInfo | None:
        """By its name, or by repository and digest."""
        for layout in (*self._others, self._own):
            if _readable(layout) and (artifact := layout.find(name)) is not None:
                return _pinned(artifact, pins)
        return None

    def by_id(self, prefix: str, pins: Pins) -> ArtifactInfo | None:
        """By its id or the beginning of it. Raises InvalidArgument if several begin so."""
        for layout in (*self._others, self._own):
            if _readable(layout) and (artifact := layout.by_id(prefix)) is not None:
                return _pinned(artifact, pins)
        return None

    def in_additional(self, name: Reference) -> ArtifactInfo | None:
        """The artifact of a read-only store: it need not be pulled."""
        for layout in self._others:
            if _readable(layout) and (artifact := layout.find(name)) is not None:
                return artifact
        return None

    def check_removable(self, artifact: ArtifactInfo) -> None:
        """Raise FailedPrecondition if a container mounts it, or if it is not ours to remove."""
        if artifact.layout.read_only:
            raise FailedPrecondition(f"cannot remove artifact {artifact.id[:12]}: it is in a read-only store")
        if user := self.user_of(artifact.id):
            raise FailedPrecondition(f"cannot remove artifact {artifact.id[:12]}: container {user} uses it")

    def usage(self) -> tuple[int, int]:
        """Bytes and number of the files of the writable store's artifacts."""
        files = {file.path: file for artifact in _readable(self._own) for file in artifact.files}
        return sum(artifact.size for artifact in _readable(self._own)), len(files)


def _readable(layout: ArtifactLayout) -> Sequence[ArtifactInfo]:
    """The artifacts of a layout; of one that cannot be read, none: the others are there all the same."""
    try:
        return layout.all()
    except (CrioError, OSError) as error:
        log.warning("passing over the artifacts in %s: %s", layout.root, error)
        return []


def _pinned(artifact: ArtifactInfo, pins: Pins) -> ArtifactInfo:
    pinned = artifact.pinned or pins.match((*artifact.names, *artifact.repo_digests))
    return artifact if pinned == artifact.pinned else msgspec.structs.replace(artifact, pinned=pinned)


def mount_files(artifact: ArtifactInfo, sub_path: str) -> Iterator[tuple[str, str]]:
    """Name below the mount point and host path of each file; of those below `sub_path` if that is not empty."""
    prefix = "/".join(part for part in sub_path.split("/") if part not in ("", "."))
    for file in artifact.files:
        if not prefix:
            yield file.name, file.path
        elif file.name == prefix:
            yield os.path.basename(file.name), file.path
        elif file.name.startswith(f"{prefix}/"):
            yield file.name[len(prefix) + 1 :], file.path
