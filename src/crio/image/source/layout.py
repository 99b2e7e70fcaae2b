"""OCI layouts (OCI image-spec, image-layout.md) in a directory or archive, and skopeo's `dir:` directories."""

from __future__ import annotations

from crio.base.ids import Digest, parse_digest
from crio.image.documents import Served, parse_document
from crio.image.errors import BadImage
from crio.image.platforms import HostPlatform, choose
from crio.image.source.base import StoredContent
from crio.image.source.files import Files
from crio.spec.oci_image import MAX_DOCUMENT, REF_NAME, Descriptor, Index

INDEX_FILE = "index.json"
_DOCKER_NAME = "io.containerd.image.name"
"""Annotation by which Docker and containerd keep the full name, while ref.name has the tag alone."""


class LayoutSource:
    """The image that one entry of a layout's index leads to."""

    def __init__(self, files: Files, entry: Descriptor) -> None:
        self._files = files
        self._entry = entry

    def manifest(self, digest: Digest | None) -> Served:
        if digest is None:
            return Served(self._read(parse_digest(self._entry.digest)), self._entry.media_type)
        return Served(self._read(digest), "")

    def config(self, descriptor: Descriptor) -> bytes:
        return self._read(parse_digest(descriptor.digest))

    def layer(self, descriptor: Descriptor) -> StoredContent:
        return StoredContent(self._files.stream(_blob(parse_digest(descriptor.digest))))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None

    def _read(self, digest: Digest) -> bytes:
        return self._files.read(_blob(digest), MAX_DOCUMENT)


def read_index(files: Files) -> Index:
    """The layout's index.json. Raises BadImage, NotFound."""
    document = parse_document(files.read(INDEX_FILE, MAX_DOCUMENT), "", files.origin)
    if not isinstance(document, Index):
        raise BadImage(f"cannot use {files.origin}: its {INDEX_FILE} is not an index")
    return document


def name_of(entry: Descriptor) -> str:
    """What the layout calls this entry: a full name, a tag, or ""."""
    annotations = entry.annotations or {}
    return annotations.get(_DOCKER_NAME) or annotations.get(REF_NAME) or ""


def entries_by_name(files: Files, host: HostPlatform) -> dict[str, Descriptor]:
    """The images of the layout. Of several entries with one name, which are for several platforms, the one for here."""
    groups: dict[str, list[Descriptor]] = {}
    for entry in read_index(files).manifests:
        groups.setdefault(name_of(entry), []).append(entry)
    chosen = {name: entries[0] if len(entries) == 1 else choose(entries, host) for name, entries in groups.items()}
    return {name: entry for name, entry in chosen.items() if entry is not None}


class DirectorySource:
    """What `skopeo copy … dir:` writes: manifest.json, and each blob in a file named by the hex part of its digest."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def manifest(self, digest: Digest | None) -> Served:
        name = "manifest.json" if digest is None else f"{_hex(digest)}.manifest.json"
        return Served(self._files.read(name, MAX_DOCUMENT), "")

    def config(self, descriptor: Descriptor) -> bytes:
        return self._files.read(_hex(parse_digest(descriptor.digest)), MAX_DOCUMENT)

    def layer(self, descriptor: Descriptor) -> StoredContent:
        return StoredContent(self._files.stream(_hex(parse_digest(descriptor.digest))))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None


def is_directory_image(files: Files) -> bool:
    """Whether manifest.json is a manifest, and not the list in an archive of `docker save`."""
    if not files.exists("manifest.json"):
        return False
    return files.read("manifest.json", MAX_DOCUMENT).lstrip()[:1] == b"{"


def _hex(digest: Digest) -> str:
    return digest.partition(":")[2]


def _blob(digest: Digest) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"blobs/{algorithm}/{hexadecimal}"
