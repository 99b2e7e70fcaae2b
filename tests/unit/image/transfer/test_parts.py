from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

import images
from crio.image.cancellation import Cancellation
from crio.image.copy import Copier
from crio.image.platforms import host_platform
from crio.image.progress import Progress
from crio.image.source.base import StoredContent
from crio.image.source.files import DirectoryFiles
from crio.image.source.layout import LayoutSource, entries_by_name
from crio.image.transfer.parts import KEY
from crio.spec.oci_image import LAYER, Descriptor
from crio.storage import layer_data
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from images import LayoutBuilder
from zstd_chunked import chunked

pytestmark = pytest.mark.root

FILES: dict[str, bytes | str | None] = {
    "usr": None,
    **{f"usr/file{number}": os.urandom(3000 + number) for number in range(40)},
    "usr/same": "s" * 4000,
    "usr/empty": "",
    "usr/link": "->same",
}
OLD = images.layer(FILES)
CHANGED = {**FILES, "usr/file7": os.urandom(5000), "usr/more": os.urandom(70_000)}
del CHANGED["usr/file9"]
NEW = images.layer(CHANGED)
LARGE = 200_000


@pytest.fixture
def root() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="crio-parts-", dir="/dev/shm")
    yield directory
    subprocess.run(["umount", "-lq", f"{directory}/graph/overlay"], check=False)
    shutil.rmtree(directory)


@pytest.fixture
def store(root: str) -> Iterator[Store]:
    with Store.open(StoreOptions(f"{root}/graph", f"{root}/run", sync=False)) as opened:
        yield opened


class _Ranged(LayoutSource):
    """A layout that gives parts as a registry does, and says what was asked for."""

    def __init__(self, directory: str, name: str) -> None:
        files = DirectoryFiles(directory)
        super().__init__(files, entries_by_name(files, host_platform())[name])
        self.directory = directory
        self.whole: list[str] = []
        self.parts: list[tuple[int, int]] = []

    def layer(self, descriptor: Descriptor) -> StoredContent:
        self.whole.append(descriptor.digest)
        return super().layer(descriptor)

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None]:  # type: ignore[override]
        self.parts.append((start, stop))
        return self._read_part(descriptor, start, stop)

    def _read_part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None]:
        with open(f"{self.directory}/blobs/sha256/{descriptor.digest.partition(':')[2]}", "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]


def make(directory: str, *tars: bytes, **changes: Any) -> _Ranged:
    """An image of these layers, all zstd:chunked."""
    layout = LayoutBuilder(directory)
    layers = []
    for tar in tars:
        blob, notes = chunked(tar, **changes)
        layers.append(layout.blob(blob, LAYER + "+zstd", annotations=notes))
    layout.finish({"x": layout.manifest(layout.config(tars), layers)})
    return _Ranged(directory, "x")


def pull(store: Store, source: _Ranged, name: str) -> Progress:
    progress = Progress()
    Copier(store, host_platform()).copy(source, [f"example.com/{name}:1"], None, Cancellation(), progress, name)
    return progress


def content(store: Store, name: str) -> bytes:
    return b"".join(store.layer_tar(store.image(f"example.com/{name}:1").layer))


def test_only_what_is_new_is_fetched(store: Store, root: str) -> None:
    first = make(f"{root}/a", OLD)
    pull(store, first, "old")
    assert len(first.whole) == 1, "there was nothing to compare with"
    second = make(f"{root}/b", NEW)
    progress = pull(store, second, "new")
    assert second.whole == []
    assert content(store, "new") == NEW
    [layer] = progress.take_changes()[0]
    fetched = sum(stop - start for start, stop in second.parts)
    assert layer.skipped == layer.size - fetched > 100_000
    assert layer.done == layer.size
    assert store.layer(store.image("example.com/new:1").layer).compressed_diff_digest != layer.digest
    third = make(f"{root}/c", NEW + bytes(512))
    pull(store, third, "again")
    assert third.whole == []
    assert len(third.parts) == 1, "one request, for the table"
    assert content(store, "again") == NEW + bytes(512)


def test_what_is_too_different_is_fetched_as_a_whole(store: Store, root: str) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    other = make(f"{root}/b", images.layer({"x": os.urandom(LARGE), "same": "s" * 4000}))
    pull(store, other, "new")
    assert len(other.whole) == 1
    assert len(other.parts) == 1


def test_without_tables_nothing_is_asked(store: Store, root: str) -> None:
    source = make(f"{root}/a", OLD)
    pull(store, source, "old")
    assert source.parts == []


def test_a_changed_file_in_the_store_is_not_used(store: Store, root: str) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    layer = store.image("example.com/old:1").layer
    path = f"{root}/graph/overlay/{layer}/diff/usr/file3"
    with open(path, "r+b") as file:
        file.write(b"wrong")
    source = make(f"{root}/b", NEW)
    pull(store, source, "new")
    assert len(source.whole) == 1
    assert content(store, "new") == NEW


@pytest.mark.parametrize("spoil", ["gone", "link", "directory", "short"])
def test_a_missing_file_in_the_store_is_fetched(store: Store, root: str, spoil: str) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    path = f"{root}/graph/overlay/{store.image('example.com/old:1').layer}/diff/usr/file3"
    os.unlink(path)
    if spoil == "link":
        os.symlink("/etc/passwd", path)
    elif spoil == "directory":
        os.mkdir(path)
    elif spoil == "short":
        open(path, "wb").close()
    source = make(f"{root}/b", NEW)
    pull(store, source, "new")
    assert len(source.whole) == 1
    assert content(store, "new") == NEW


def _move(fields: dict[str, Any]) -> None:
    if fields["name"] == "usr/more":
        fields["offset"] += 10


def _swap(fields: dict[str, Any]) -> None:
    if fields["name"] == "usr/more":
        fields["offset"], fields["endOffset"] = fields["endOffset"], fields["offset"]


def _climb(fields: dict[str, Any]) -> None:
    fields["name"] = "../../" + fields["name"]


def _grow(fields: dict[str, Any]) -> None:
    fields["size"] = fields.get("size", 0) + 1


def _lie(fields: dict[str, Any]) -> None:
    """Pass one file of the store off as another."""
    if fields["name"] == "usr/same":
        fields["digest"] = "sha256:" + "0" * 64


@pytest.mark.parametrize("change", [_move, _swap, _climb, _grow, _lie])
def test_a_lying_table_changes_nothing(store: Store, root: str, change: Callable[[dict[str, Any]], None]) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    source = make(f"{root}/b", NEW, entry=change)
    pull(store, source, "new")
    assert content(store, "new") == NEW


@pytest.mark.parametrize(
    "records",
    [
        lambda data: data[:-100],
        lambda data: data + b"rubbish\n",
        lambda data: data.replace(b"usr/file3", b"usr/file4"),
        lambda data: b"\n".join(reversed(data.split(b"\n"))),
        lambda data: b"x" * 100,
    ],
)
def test_lying_records_change_nothing(store: Store, root: str, records: Callable[[bytes], bytes]) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    source = make(f"{root}/b", NEW, records=records)
    pull(store, source, "new")
    assert content(store, "new") == NEW
    assert len(source.whole) == 1


def test_a_lying_table_of_another_layer_changes_nothing(store: Store, root: str) -> None:
    """Its image says that its files are something else than they are."""
    wanted = images.layer({"etc": None, "etc/config": "good" * 5000, "etc/pad": os.urandom(100)})
    evil = images.layer({"config": "evil" * 5000, "pad": os.urandom(60_000)})
    digest: list[str] = []
    blob, _ = chunked(wanted, entry=lambda fields: digest.append(fields.get("digest", "")))
    assert blob

    def lie(fields: dict[str, Any]) -> None:
        if fields["name"] == "config":
            fields["digest"] = next(filter(None, digest))

    pull(store, make(f"{root}/a", evil, entry=lie), "evil")
    source = make(f"{root}/b", wanted)
    pull(store, source, "wanted")
    assert content(store, "wanted") == wanted


def test_the_table_goes_with_the_layer(store: Store, root: str) -> None:
    pull(store, make(f"{root}/a", OLD), "old")
    image = store.image("example.com/old:1")
    assert layer_data.read(store, image.layer, KEY).startswith(b'{"version": 1')
    assert list(layer_data.holders(store, KEY)) == [image.layer]
    assert os.path.isdir(f"{root}/graph/overlay-layers/{image.layer}")
    store.remove_image(image.id)
    assert list(layer_data.holders(store, KEY)) == []
    assert not os.path.exists(f"{root}/graph/overlay-layers/{image.layer}")
