"""Images made on the spot from files of the host, as an OCI layout: what a demonstration runs without a network."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Mapping, Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.files import read_bounded
from crio.image.platforms import host_platform
from crio.spec import oci_image
from crio.spec.oci_image import Descriptor, ImageConfig, Index, Manifest, RootFs, RunConfig

_CREATED = "2024-01-01T00:00:00Z"
_MTIME = 1_704_067_200
_MAX_BINARY = 64 << 20
_FIRST_APPLETS = b"[\0[[\0"
_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "var")
_FILES: Mapping[str, str] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
}


def assemble_busybox_image(
    destination_dir: str, busybox_path: str = "/bin/busybox", *, name: str = "localhost/busybox:latest"
) -> str:
    """Write an OCI layout with one image made of a static busybox and a link per applet; returns `destination_dir`.

    The same busybox gives the same image id. Raises InvalidArgument if the file is not a busybox, OSError.
    """
    binary = read_bounded(busybox_path, _MAX_BINARY)
    layer = _busybox_layer(binary, busybox_path)
    config = ImageConfig(
        created=_CREATED,
        architecture=host_platform().architecture,
        os="linux",
        config=RunConfig(env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",), cmd=("sh",)),
    )
    return write_layout(destination_dir, {name: (config, [layer])})


def write_layout(destination_dir: str, images: Mapping[str, tuple[ImageConfig, Sequence[bytes]]]) -> str:
    """Write an OCI layout with these images: by name their configuration and uncompressed layers, base first.

    The layers are compressed with gzip, and their diff ids put into the configuration. Returns `destination_dir`.
    """
    blobs = os.path.join(destination_dir, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)
    entries: list[Descriptor] = []
    for name, (config, layers) in images.items():
        descriptors = [_write_blob(blobs, oci_image.LAYER_GZIP, _gzip(layer)) for layer in layers]
        diff_ids = tuple("sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers)
        config = msgspec.structs.replace(config, rootfs=RootFs(diff_ids))
        config_blob = _write_blob(blobs, oci_image.CONFIG, msgspec.json.encode(config))
        manifest = Manifest(media_type=oci_image.MANIFEST, config=config_blob, layers=tuple(descriptors))
        entry = _write_blob(blobs, oci_image.MANIFEST, _encode_document(manifest))
        entries.append(msgspec.structs.replace(entry, annotations={oci_image.REF_NAME: name}))
    _write(os.path.join(destination_dir, "index.json"), _encode_document(Index(manifests=tuple(entries))))
    _write(os.path.join(destination_dir, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
    return destination_dir


def _encode_document(document: Manifest | Index) -> bytes:
    # schemaVersion equals its default and must be there all the same.
    return msgspec.json.encode({"schemaVersion": 2, **msgspec.to_builtins(document)})


def _busybox_layer(binary: bytes, path: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for directory in _DIRECTORIES:
            archive.addfile(_entry(directory, tarfile.DIRTYPE, 0o700 if directory == "root" else 0o755))
        archive.addfile(_entry("tmp", tarfile.DIRTYPE, 0o1777))
        for name, text in _FILES.items():
            _add_file(archive, name, text.encode(), 0o644)
        _add_file(archive, "bin/busybox", binary, 0o755)
        for applet in busybox_applets(binary, path):
            if applet != "busybox":
                link = _entry(f"bin/{applet}", tarfile.LNKTYPE, 0o755)
                link.linkname = "bin/busybox"
                archive.addfile(link)
        env = _entry("usr/bin/env", tarfile.SYMTYPE, 0o777)
        env.linkname = "../../bin/env"
        archive.addfile(env)
    return buffer.getvalue()


def busybox_applets(binary: bytes, path: str = "busybox") -> list[str]:
    """The names under which this busybox can be called, read from the table inside it, so that nothing is run."""
    start = binary.find(_FIRST_APPLETS)
    end = binary.find(b"\0\0", start)
    if not binary.startswith(b"\x7fELF") or start < 0 or end < 0:
        raise InvalidArgument(f"cannot make an image from {path}: it is not a busybox; install busybox-static")
    return binary[start:end].decode("ascii").split("\0")


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = mode
    info.mtime = _MTIME
    return info


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = _entry(name, tarfile.REGTYPE, mode)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


def _write_blob(blobs: str, media_type: str, data: bytes) -> Descriptor:
    digest = hashlib.sha256(data).hexdigest()
    _write(os.path.join(blobs, digest), data)
    return Descriptor(media_type=media_type, digest=f"sha256:{digest}", size=len(data))


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
