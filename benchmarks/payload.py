"""The images of a run, made on the spot and put into a registry on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from isal import igzip_lib

from crio.image.assemble import assemble_busybox_image, write_layout
from crio.image.platforms import host_platform
from crio.spec.oci_image import ImageConfig, RunConfig
from images import layer
from registry_server import RunningRegistry

_KIB = 1000


@dataclass(frozen=True)
class Shape:
    """An image to pull: layers of `files` files, which have `size` bytes together when compressed.

    Layers are made of their seed alone: two shapes share those whose numbers, files and sizes are the same.
    """

    title: str
    layers: int
    files: int
    size: int
    even: bool = False
    """All files are about as long; else a few hold most of the bytes, as in real images."""
    other_top: bool = False
    """The last layer is another one than that of a shape that is the same but for this."""

    def scaled(self, factor: float) -> Shape:
        """Smaller, for a quick run."""
        return replace(self, files=max(int(self.files * factor), 2), size=int(self.size * factor))


SHAPES = {
    "large": Shape("200 MB gzip, 20,000 files, 5 layers", 5, 4000, 40_000 * _KIB),
    "one": Shape("one layer, 150 MB gzip, 20 files", 1, 20, 150_000 * _KIB, even=True),
    "many": Shape("40 layers, 60 MB gzip, 4,000 files", 40, 100, 1_500 * _KIB),
    "shared": Shape("39 of its 40 layers are there", 40, 100, 1_500 * _KIB, other_top=True),
    "small": Shape("one layer, 20 MB gzip, 20,000 files", 1, 20_000, 20_000 * _KIB, even=True),
}
"""By name, which is also that in the registry."""


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


def push_shape(registry: RunningRegistry, directory: Path, name: str, shape: Shape) -> str:
    """Make an image of this shape and push it; its name."""
    layout = directory / name
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, diff_ids = [], []
    for number in range(shape.layers):
        seed = -1 if shape.other_top and number == shape.layers - 1 else number
        data = _layer(seed, shape)
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
    registry.push(f"oci:{layout}:bench", f"{name}:1")
    shutil.rmtree(layout)
    return f"{registry.host}/{name}:1"


def _layer(seed: int, shape: Shape) -> bytes:
    """Files one half of whose content does not compress, 50 in a directory."""
    source = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in _files(source, seed, shape):
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


def _files(source: random.Random, seed: int, shape: Shape) -> Iterator[tuple[str, int]]:
    weights = [source.uniform(0.5, 1.5) if shape.even else source.paretovariate(1.2) for _ in range(shape.files)]
    scale = shape.size / sum(weights)
    yield f"layer{seed}", -1
    for index, weight in enumerate(weights):
        directory = f"layer{seed}/d{index // 50}"
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
