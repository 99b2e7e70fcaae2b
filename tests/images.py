"""Small OCI images for tests, built from the host's busybox or from given files, without any tool."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from crio.image.assemble import assemble_busybox_image, write_layout
from crio.image.platforms import host_platform
from crio.spec import oci_image
from crio.spec.oci_image import ImageConfig, RunConfig

BUSYBOX = "/bin/busybox"
BUSYBOX_NAME = "localhost/busybox:latest"

__all__ = ["BUSYBOX", "BUSYBOX_NAME", "LayoutBuilder", "archive_of", "busybox_layout", "config", "layer", "layout"]


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


class LayoutBuilder:
    """An OCI layout piece by piece, right or wrong on purpose. Descriptors are plain JSON values."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        os.makedirs(f"{directory}/blobs/sha256")

    def blob(self, data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
        """Store a blob; its descriptor, with `fields` added or changed."""
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{self.directory}/blobs/sha256/{digest}", "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **fields}

    def document(self, value: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Store a JSON document; its descriptor."""
        return self.blob(json.dumps(value).encode(), value["mediaType"], **fields)

    def config(self, layers: Sequence[bytes], **fields: Any) -> dict[str, Any]:
        """Store a configuration for these uncompressed layers."""
        diff_ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
        value = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **fields}
        return self.blob(json.dumps(value).encode(), oci_image.CONFIG)

    def manifest(self, config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
        """Store a manifest; its descriptor, with `fields`."""
        value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "config": config, "layers": layers}
        return self.document(value, **fields)

    def index(self, entries: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
        return self.document({"schemaVersion": 2, "mediaType": oci_image.INDEX, "manifests": entries}, **fields)

    def finish(self, images: Mapping[str, Mapping[str, Any]]) -> str:
        """Write index.json with these images by name; returns the directory."""
        entries = [
            {**descriptor, **({"annotations": {oci_image.REF_NAME: name}} if name else {})}
            for name, descriptor in images.items()
        ]
        with open(f"{self.directory}/index.json", "w") as file:
            json.dump({"schemaVersion": 2, "manifests": entries}, file)
        with open(f"{self.directory}/oci-layout", "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')
        return self.directory
