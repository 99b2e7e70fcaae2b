"""Small OCI images for tests, built from the host's busybox or from given files, without any tool."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping, Sequence

from crio.image.assemble import assemble_busybox_image, write_layout
from crio.image.platforms import host_platform
from crio.spec.oci_image import ImageConfig, RunConfig

BUSYBOX = "/bin/busybox"
BUSYBOX_NAME = "localhost/busybox:latest"

__all__ = ["BUSYBOX", "BUSYBOX_NAME", "archive_of", "busybox_layout", "config", "layer", "layout"]


def busybox_layout(directory: str, name: str = BUSYBOX_NAME) -> str:
    """An OCI layout in `directory` with the busybox image under `name`."""
    return assemble_busybox_image(directory, BUSYBOX, name=name)


def layer(files: Mapping[str, bytes | str | None], *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> bytes:
    """An uncompressed layer: path to content; None makes a directory, a text starting with "->" a symlink."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.mtime, info.uid, info.gid, info.mode = 1_700_000_000, uid, gid, mode
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(content, str) and content.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, content[2:]
                archive.addfile(info)
            else:
                data = content.encode() if isinstance(content, str) else content
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def config(run: RunConfig | None = None, *, architecture: str = "", os: str = "linux") -> ImageConfig:
    """A configuration, for this machine unless `architecture` says otherwise."""
    return ImageConfig(
        created="2024-01-01T00:00:00Z",
        architecture=architecture or host_platform().architecture,
        os=os,
        config=run or RunConfig(cmd=("/bin/sh",)),
    )


def layout(
    directory: str,
    name: str = "localhost/test:latest",
    layers: Sequence[bytes] | None = None,
    run: RunConfig | None = None,
) -> str:
    """An OCI layout with one image of the given layers."""
    stack = [layer({"etc": None, "etc/hello": "hello\n"})] if layers is None else layers
    return write_layout(directory, {name: (config(run), stack)})


def archive_of(directory: str, path: str) -> str:
    """The oci-archive of a layout; returns `path`."""
    with tarfile.open(path, "w") as archive:
        for entry in sorted(os.listdir(directory)):
            archive.add(os.path.join(directory, entry), entry)
    return path
