from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crio.linux.mount import unmount_below
from crio.storage.deletion import delete_tree
from crio.storage.options import StoreOptions
from crio.storage.records import GZIP, ImageRecord
from crio.storage.store import Store

Member = tuple[str, bytes | None] | tarfile.TarInfo
TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory, with nothing mounted below it at the end."""
    path = Path(tempfile.mkdtemp(prefix="crio-storage-", dir="/dev/shm"))
    try:
        yield path
    finally:
        unmount_below(str(path))
        delete_tree(str(path))


@pytest.fixture
def options(place: Path) -> StoreOptions:
    return StoreOptions(str(place / "graph"), str(place / "run"), lock_timeout=60)


@pytest.fixture
def store(options: StoreOptions) -> Iterator[Store]:
    with Store.open(options) as opened:
        yield opened


@pytest.fixture
def tar() -> TarMaker:
    return make_tar


@pytest.fixture
def add_image() -> ImageMaker:
    return make_image


def make_tar(*members: Member) -> bytes:
    """(name, content), content None for a directory; or ready-made TarInfos without content."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return output.getvalue()


def add_layer(store: Store, parent: str | None, data: bytes) -> tuple[str, str, str, int]:
    """(layer id, diff id, digest of the gzip'ed blob, its length)."""
    blob = gzip.compress(data, 1)
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    with store.stage_layer() as writer:
        writer.write(data)
        layer = writer.commit(parent, None, len(data), digest, len(blob), GZIP)
    return layer.id, layer.diff_digest, digest, len(blob)


def make_image(store: Store, name: str, *layers: bytes, command: str = "/bin/sh") -> ImageRecord:
    """An OCI image of these layer tars, complete enough for every other tool."""
    parent: str | None = None
    diff_ids, descriptors = [], []
    for data in layers:
        parent, diff_id, digest, size = add_layer(store, parent, data)
        diff_ids.append(diff_id)
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        descriptors.append({"mediaType": media_type, "digest": digest, "size": size})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": [command]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2024-01-01T00:00:00Z"} for _ in diff_ids],
        }
    ).encode()
    id = hashlib.sha256(config).hexdigest()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": f"sha256:{id}",
                "size": len(config),
            },
            "layers": descriptors,
        }
    ).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    return store.put_image(
        id,
        layer=parent,
        names=[name],
        digest=digest,
        created="2024-01-01T00:00:00Z",
        big_data={f"sha256:{id}": config, f"manifest-{digest}": manifest, "manifest": manifest},
    )
