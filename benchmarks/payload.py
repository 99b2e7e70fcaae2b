"""The images of a run, made on the spot and put into a registry on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from isal import igzip_lib

from crio.image.assemble import assemble_busybox_image, write_layout
from crio.image.platforms import host_platform
from crio.spec.oci_image import ImageConfig, RunConfig
from images import layer
from registry_server import RunningRegistry

_LARGE_LAYERS = 5
_LARGE_FILES = 20_000
_LARGE_BYTES = 200_000_000
"""Compressed; about twice as much unpacked."""


def push_small(registry: RunningRegistry, directory: Path) -> dict[str, str]:
    """The image that containers run and the one that holds pods elsewhere; their names by what they are for."""
    busybox = assemble_busybox_image(str(directory / "busybox"), name="bench:1")
    program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    # Named for what it is; a name that begins with busybox takes the applet from the next argument.
    files = layer({"bin": None, "bin/busybox-pause": program}, mode=0o755)
    command = ("/bin/busybox-pause", "sleep", "2147483647")
    pause = write_layout(str(directory / "pause"), {"bench:1": (_config(command), [files])})
    registry.push(f"oci:{busybox}:bench:1", "busybox:1")
    registry.push(f"oci:{pause}:bench:1", "pause:1")
    return {"busybox": f"{registry.host}/busybox:1", "pause": f"{registry.host}/pause:1"}


def push_large(registry: RunningRegistry, directory: Path, *, scale: float) -> str:
    """An image of 200 MB in five gzip layers with 20,000 files, times `scale`; its name."""
    files, size = int(_LARGE_FILES * scale), int(_LARGE_BYTES * scale)
    layout = directory / "large"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, diff_ids = [], []
    for number in range(_LARGE_LAYERS):
        data = _large_layer(number, files // _LARGE_LAYERS, size // _LARGE_LAYERS)
        diff_ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        compressed = igzip_lib.compress(data, 1, igzip_lib.COMP_GZIP)
        layers.append(_blob(blobs, "application/vnd.oci.image.layer.v1.tar+gzip", compressed))
    platform = host_platform()
    config = {
        "architecture": platform.architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", json.dumps(config).encode()),
        "layers": layers,
    }
    entry = _blob(blobs, str(manifest["mediaType"]), json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "bench"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    registry.push(f"oci:{layout}:bench", "large:1")
    shutil.rmtree(layout)
    return f"{registry.host}/large:1"


def _large_layer(number: int, files: int, compressed_size: int) -> bytes:
    """Files of very different sizes, one half of whose content does not compress, 50 in a directory."""
    source = random.Random(number)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in _files(source, number, files, compressed_size):
            info = tarfile.TarInfo(name)
            info.mtime = 1_704_067_200
            if size < 0:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                noise = source.randbytes(size)
                content = noise + bytes(len(noise))
                info.size, info.mode = len(content), 0o644
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _files(source: random.Random, number: int, files: int, total: int) -> Iterator[tuple[str, int]]:
    weights = [source.paretovariate(1.2) for _ in range(files)]
    scale = total / sum(weights)
    yield f"layer{number}", -1
    for index, weight in enumerate(weights):
        directory = f"layer{number}/d{index // 50}"
        if index % 50 == 0:
            yield directory, -1
        yield f"{directory}/file{index}", int(weight * scale)


def _blob(blobs: Path, media_type: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _config(command: tuple[str, ...]) -> ImageConfig:
    return ImageConfig(
        created="2024-01-01T00:00:00Z",
        architecture=host_platform().architecture,
        os="linux",
        config=RunConfig(entrypoint=command, env=("PATH=/bin",)),
    )
