"""An artifact from its source into the layout. Blocking; for the image worker.

Blobs are received into files without a name, which end with the process, and get their names together with the entry in
the index: whatever happens, nothing is left of an artifact that is not whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence, Set

from crio.base.errors import ResourceExhausted, Unavailable
from crio.base.failpoints import failpoint
from crio.base.files import write_atomic
from crio.base.ids import Digest, parse_digest
from crio.image.artifacts.layout import SIGNATURES, ArtifactLayout
from crio.image.cancellation import Cancellation
from crio.image.documents import digest_of, verify
from crio.image.errors import BadContent
from crio.image.progress import LayerState, Progress, Stage
from crio.image.source.base import ImageSource, LayerContent
from crio.image.trust import signatures as trust
from crio.image.trust.signatures import Signature
from crio.spec import docker_image, oci_image
from crio.spec.oci_image import Descriptor, Manifest

_IMAGE_LAYERS = (oci_image.LAYER, oci_image.NONDISTRIBUTABLE, "application/vnd.docker.image.rootfs.")
_IMAGE_CONFIGS = ("", oci_image.CONFIG, docker_image.CONFIG, "application/octet-stream", "text/plain")
"""Media types of images' configurations; the last two were written by early tools."""


def is_artifact(manifest: Manifest) -> bool:
    """Whether a manifest is no image's: by its configuration, or because it says so and has no layer of an image."""
    if manifest.config.media_type not in _IMAGE_CONFIGS:
        return True
    return bool(manifest.artifact_type) and not any(
        layer.media_type.startswith(_IMAGE_LAYERS) for layer in manifest.layers
    )


def receive(
    layout: ArtifactLayout,
    source: ImageSource,
    manifest: Manifest,
    raw: bytes,
    names: Sequence[str],
    signatures: Sequence[Signature],
    scope: Cancellation,
    progress: Progress,
    what: str,
) -> Digest:
    """Put an artifact into the layout under `names`; the digest of its manifest, by which it is known.

    Raises BadContent, ResourceExhausted if it cannot fit, Unavailable if another one was removed that shares files with
    it, Cancelled, and what the source raises, OSError.
    """
    digest = digest_of(raw)
    progress.enter(Stage.FETCH)
    with layout.writing():
        pass
    _check_room(layout, manifest, what)
    with contextlib.ExitStack() as stack:
        received: list[tuple[Digest, int]] = []
        contents: list[LayerContent] = []
        config = source.config(manifest.config)
        verify(config, parse_digest(manifest.config.digest), f"configuration of {what}")
        for layer in manifest.layers:
            progress.layer(layer.digest, layer.size, LayerState.WAITING)
        for layer in manifest.layers:
            blob = parse_digest(layer.digest)
            if os.path.exists(layout.blob_path(blob)):
                progress.layer(layer.digest, layer.size, LayerState.EXISTS)
                continue
            fd = _unnamed(layout, stack)
            contents.append(_receive(source, layer, blob, fd, scope, progress, stack))
            received.append((blob, fd))
            progress.layer(layer.digest, layer.size, LayerState.DONE)
        progress.enter(Stage.COMMIT)
        for blob, data in ((parse_digest(manifest.config.digest), config), (digest, raw)):
            fd = _unnamed(layout, stack)
            _write(fd, data)
            received.append((blob, fd))
        for _, fd in received:
            os.fsync(fd)
        failpoint("image.artifact.received")
        with layout.writing():
            _check_present(layout, manifest, {blob for blob, _ in received}, what)
            for blob, fd in received:
                _give_name(fd, layout.blob_path(blob))
            if signatures:
                os.makedirs(os.path.join(layout.root, SIGNATURES), 0o700, exist_ok=True)
                write_atomic(layout.signature_path(digest), trust.pack(signatures), durable=True)
            for name in names or ("",):
                layout.add_entry(name, digest, len(raw))
        for content in contents:
            content.settle()
    return digest


def _check_room(layout: ArtifactLayout, manifest: Manifest, what: str) -> None:
    needed = sum(
        layer.size for layer in manifest.layers if not os.path.exists(layout.blob_path(parse_digest(layer.digest)))
    )
    free = shutil.disk_usage(layout.root).free
    if needed > free:
        raise ResourceExhausted(f"cannot store {what}: it takes {needed} bytes and {free} are free in {layout.root}")


def _check_present(layout: ArtifactLayout, manifest: Manifest, received: Set[str], what: str) -> None:
    """What was found in the layout at the beginning may have gone with another artifact."""
    for layer in manifest.layers:
        if layer.digest not in received and not os.path.exists(layout.blob_path(parse_digest(layer.digest))):
            raise Unavailable(f"cannot store {what}: {layer.digest} was removed meanwhile; try again")


def _receive(
    source: ImageSource,
    layer: Descriptor,
    blob: Digest,
    fd: int,
    scope: Cancellation,
    progress: Progress,
    stack: contextlib.ExitStack,
) -> LayerContent:
    """The layer's bytes go into the file, verified."""
    progress.layer(layer.digest, layer.size, LayerState.FETCHING, layer.media_type)
    content = source.layer(layer)
    stack.callback(content.leave)
    hasher = hashlib.new(blob.partition(":")[0])
    total = 0
    with contextlib.closing(content.chunks()) as chunks:
        for chunk in chunks:
            scope.check()
            total += len(chunk)
            if total > layer.size:
                break
            hasher.update(chunk)
            _write(fd, chunk)
            progress.received(layer.digest, total)
    found = f"{hasher.name}:{hasher.hexdigest()}"
    if total != layer.size or found != blob:
        content.settle()
        raise BadContent(f"cannot use {blob}: {total} bytes with digest {found} were received and not {layer.size}")
    return content


def _unnamed(layout: ArtifactLayout, stack: contextlib.ExitStack) -> int:
    """A file in the layout that has no name yet."""
    directory = os.path.join(layout.root, "blobs", "sha256")
    fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    stack.callback(os.close, fd)
    os.fchmod(fd, 0o644)
    return fd


def _write(fd: int, data: bytes) -> None:
    """All of it: a disk that is nearly full takes a part, and says so only at the next write."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _give_name(fd: int, path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory given, and only then, the link is followed (linkat(2), AT_SYMLINK_FOLLOW).
        os.link(str(fd), path, src_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        # Named by its digest: it is the same.
        pass
    finally:
        os.close(directory)
