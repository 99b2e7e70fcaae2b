"""The artifacts on this node: an OCI layout that is shared with other tools, and read-only ones beside it.

The index says which artifacts there are; a manifest never changes, so it is read once. Listing costs one system call
per layout while nothing was written.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from crio.base.errors import CrioError, DataLoss, InvalidArgument, NotFound
from crio.base.files import read_bounded, remove_temporaries, write_atomic
from crio.base.ids import Digest, parse_digest
from crio.base.jsontext import UNREADABLE
from crio.image.documents import parse_document
from crio.image.records import ImageInfo
from crio.spec import oci_image
from crio.spec.oci_image import MAX_DOCUMENT, Descriptor, Manifest
from crio.storage.locks import LockFile
from crio.wire import reference

log = logging.getLogger(__name__)

DIRECTORY = "artifacts"
"""Below the root of a store."""
_INDEX, _LOCK, _MARK = "index.json", "index.lock", "oci-layout"
_TITLES = ("org.opencontainers.image.title", "org.cnai.modelpack.layer.filepath", "org.cncf.model.filepath")
"""Annotations of a layer that give its file a name, the first that is there counts."""
SIGNATURES = "signatures"
"""Directory with the signatures of artifacts; other tools do not know it and leave it alone."""


class ArtifactFile(msgspec.Struct, frozen=True):
    """One file of an artifact: its name below the mount point, and where it is on the host."""

    name: str
    path: str


class ArtifactInfo(ImageInfo, frozen=True, eq=False, kw_only=True):
    """An artifact as the CRI shows it: an image whose configuration is empty. Its id is its manifest's digest."""

    files: Sequence[ArtifactFile]
    layout: ArtifactLayout


class _Known(msgspec.Struct):
    """What was read of one manifest."""

    data: bytes
    manifest: Manifest


class ArtifactLayout:
    """One layout. Nothing is made on the disk before something is to be written."""

    def __init__(self, root: str, *, read_only: bool = False) -> None:
        self.root = root
        self.read_only = read_only
        self._stamp: tuple[int, int, int] | None = None
        self._artifacts: list[ArtifactInfo] = []
        self._manifests: dict[Digest, _Known] = {}

    # Reading

    def all(self) -> Sequence[ArtifactInfo]:
        """The artifacts, in the order in which they came. Raises DataLoss if the index is damaged, OSError."""
        try:
            facts = os.stat(self._path(_INDEX))
        except (FileNotFoundError, NotADirectoryError):
            self._stamp, self._artifacts = None, []
            return []
        stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if stamp != self._stamp:
            self._artifacts = list(self._read())
            self._stamp = stamp
        return self._artifacts

    def find(self, name: reference.Reference) -> ArtifactInfo | None:
        """By its name, or by repository and digest."""
        wanted = str(name.canonical())
        for artifact in self.all():
            if wanted in artifact.names or (name.digest and wanted in artifact.repo_digests):
                return artifact
        return None

    def by_id(self, prefix: str) -> ArtifactInfo | None:
        """By its id or the beginning of it. Raises InvalidArgument if several begin so."""
        found = [artifact for artifact in self.all() if artifact.id.startswith(prefix)]
        if len(found) > 1:
            raise InvalidArgument(f"cannot tell which artifact {prefix} is: {len(found)} ids begin so")
        return found[0] if found else None

    def blob_path(self, digest: Digest) -> str:
        algorithm, _, hexadecimal = digest.partition(":")
        return self._path("blobs", algorithm, hexadecimal)

    def signature_path(self, digest: Digest) -> str:
        return self._path(SIGNATURES, digest.replace(":", "-"))

    def _read(self) -> Iterator[ArtifactInfo]:
        names: dict[Digest, list[str]] = {}
        for entry in self._entries():
            try:
                digest = parse_digest(str(entry.get("digest")))
                self._manifest(digest)
            except (CrioError, OSError) as error:
                log.warning("passing over an entry of %s: %s", self._path(_INDEX), error)
                continue
            names.setdefault(digest, []).extend(_full_names(entry))
        self._manifests = {digest: self._manifests[digest] for digest in names}
        for digest, own in names.items():
            yield self._info(digest, own)

    def _info(self, digest: Digest, names: Sequence[str]) -> ArtifactInfo:
        known = self._manifests[digest]
        repositories = dict.fromkeys(reference.parse(name).repository for name in names)
        tags = [name for name in names if "@" not in name]

        def read(key: str) -> bytes:
            return known.data if key == "manifest" else b"{}"

        return ArtifactInfo(
            id=digest.partition(":")[2],
            names=(*tags, *(name for name in names if "@" in name)),
            repo_digests=tuple(f"{repository}@{digest}" for repository in repositories),
            digest=digest,
            size=sum(layer.size for layer in known.manifest.layers),
            created=(known.manifest.annotations or {}).get("org.opencontainers.image.created", ""),
            pinned=self.read_only,
            read=read,
            config_key=lambda: "config",
            files=tuple(self._files(known.manifest.layers)),
            layout=self,
        )

    def _files(self, layers: Sequence[Descriptor]) -> Iterator[ArtifactFile]:
        for layer in layers:
            annotations = layer.annotations or {}
            name = next((annotations[title] for title in _TITLES if annotations.get(title)), "")
            if name:
                yield ArtifactFile(name, self.blob_path(parse_digest(layer.digest)))

    def _manifest(self, digest: Digest) -> Manifest:
        if digest not in self._manifests:
            data = read_bounded(self.blob_path(digest), MAX_DOCUMENT)
            document = parse_document(data, "", f"artifact {digest}")
            if not isinstance(document, Manifest):
                raise DataLoss(f"cannot use artifact {digest}: it is no manifest")
            self._manifests[digest] = _Known(data, document)
        return self._manifests[digest].manifest

    def _entries(self) -> list[dict[str, Any]]:
        """The index's entries as they are. Raises DataLoss."""
        try:
            document = msgspec.json.decode(read_bounded(self._path(_INDEX), MAX_DOCUMENT), type=dict[str, Any])
            return msgspec.convert(document.get("manifests") or [], list[dict[str, Any]])
        except FileNotFoundError:
            return []
        except UNREADABLE as error:
            raise DataLoss(f"cannot read {self._path(_INDEX)}: {error}; remove it to start anew") from None

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock that other tools take as well; the layout exists then."""
        for directory in ("", "blobs", "blobs/sha256"):
            os.makedirs(self._path(directory), 0o700 if not directory else 0o755, exist_ok=True)
        lock = LockFile(self._path(_LOCK))
        try:
            with lock.write():
                remove_temporaries(self.root)
                if not os.path.exists(self._path(_MARK)):
                    write_atomic(self._path(_MARK), b'{"imageLayoutVersion":"1.0.0"}', mode=0o644)
                yield
        finally:
            lock.close()

    def add_entry(self, name: str, digest: Digest, size: int) -> None:
        """Give an artifact whose blobs are there a name, which another one loses. To be called while `writing`."""
        kept = []
        for entry in self._entries():
            annotations = dict(entry.get("annotations") or {})
            if annotations.get(oci_image.REF_NAME) == name:
                if entry.get("digest") == digest:
                    continue
                # It stays without a name, to be found by its id, until somebody removes it.
                del annotations[oci_image.REF_NAME]
                entry = {**entry, "annotations": annotations}
            kept.append(entry)
        named = {"annotations": {oci_image.REF_NAME: name}} if name else {}
        kept = [entry for entry in kept if entry.get("digest") != digest or _full_names(entry)]
        self._save([*kept, {"mediaType": oci_image.MANIFEST, "digest": digest, "size": size, **named}])

    def remove(self, artifact: ArtifactInfo) -> None:
        """Remove an artifact with all its names, and the blobs that no other one has. Blocks. Raises NotFound."""
        with self.writing():
            entries = self._entries()
            kept = [entry for entry in entries if entry.get("digest") != artifact.digest]
            if len(kept) == len(entries):
                raise NotFound(f"cannot remove artifact {artifact.id[:12]}: it is not there")
            self._save(kept)
            self._drop_unused(kept)

    def _save(self, entries: Sequence[dict[str, Any]]) -> None:
        data = msgspec.json.encode({"schemaVersion": 2, "manifests": entries})
        write_atomic(self._path(_INDEX), data, mode=0o644, durable=True)

    def _drop_unused(self, entries: Sequence[dict[str, Any]]) -> None:
        """Remove blobs that no entry leads to. New ones come to be under the lock only, so none of them is meant."""
        used: set[str] = set()
        for entry in entries:
            try:
                digest = parse_digest(str(entry.get("digest")))
                manifest = self._manifest(digest)
            except (CrioError, OSError):
                # What it leads to is not known, so nothing can be told to be unused.
                return
            used |= {digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        for algorithm in os.listdir(self._path("blobs")):
            for hexadecimal in os.listdir(self._path("blobs", algorithm)):
                if f"{algorithm}:{hexadecimal}" not in used:
                    os.unlink(self._path("blobs", algorithm, hexadecimal))
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._path(SIGNATURES)):
                if name.replace("-", ":", 1) not in used:
                    os.unlink(self._path(SIGNATURES, name))

    def _path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)


def _full_names(entry: dict[str, Any]) -> list[str]:
    """The name in an index's entry; one without a registry was written by another tool and stands for no image here."""
    annotations = entry.get("annotations")
    name = annotations.get(oci_image.REF_NAME) if isinstance(annotations, dict) else None
    if not isinstance(name, str) or "/" not in name:
        return []
    try:
        return [str(reference.parse(name).canonical())]
    except CrioError:
        return []
