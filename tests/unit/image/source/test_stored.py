from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

import images
from crio.base.errors import InvalidArgument, NotFound
from crio.image.cancellation import Cancellation
from crio.image.copy import Copier
from crio.image.documents import parse_document
from crio.image.platforms import host_platform
from crio.image.progress import Progress
from crio.image.source.files import DirectoryFiles
from crio.image.source.layout import LayoutSource, entries_by_name
from crio.image.source.stored import StoredImageSource, StoredName, parse_stored_name
from crio.spec.oci_image import Manifest
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root

LAYERS = [images.layer({"etc": None, "etc/hello": "hello\n"}), images.layer({"etc/.wh.hello": "", "top": "t" * 9000})]
NAME = "example.com/test/app:1"


@pytest.fixture
def root() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="crio-stored-", dir="/dev/shm")
    yield directory
    for name in ("graph", "other"):
        subprocess.run(["umount", "-lq", f"{directory}/{name}/overlay"], check=False)
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com/a:1", StoredName("example.com/a:1")),
        ("[/var/store]a", StoredName("a", "", "/var/store")),
        ("[overlay@/var/store]a:1", StoredName("a:1", "overlay", "/var/store")),
        ("[vfs@/g+/r]a@sha256:1", StoredName("a@sha256:1", "vfs", "/g", "/r")),
        ("[overlay@/g+/r:overlay.mountopt=nodev,x=y]a", StoredName("a", "overlay", "/g", "/r")),
    ],
)
def test_names(text: str, expected: StoredName) -> None:
    assert parse_stored_name(text) == expected


@pytest.mark.parametrize("text", ["", "[overlay@/g+/r]", "[relative]a", "[/g", "[overlay@]a", "[]"])
def test_useless_names(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"containers-storage:\[driver@graphroot\+runroot\]name"):
        parse_stored_name(text)


def test_from_one_store_to_another(root: str) -> None:
    layout = images.layout(f"{root}/layout", NAME, LAYERS)
    files = DirectoryFiles(layout)
    source = LayoutSource(files, entries_by_name(files, host_platform())[NAME])
    options = StoreOptions(f"{root}/graph", f"{root}/run", sync=False)
    other_options = StoreOptions(f"{root}/other", f"{root}/run2", sync=False)
    with Store.open(options) as store, Store.open(other_options) as other:
        copied = Copier(store, host_platform()).copy(source, [NAME], None, Cancellation(), Progress(), "x")
        stored = StoredImageSource(store, store.image(NAME))
        served = stored.manifest(None)
        manifest = parse_document(served.data, served.media_type, "x")
        assert isinstance(manifest, Manifest)
        assert [layer.digest for layer in manifest.layers] == [
            "sha256:" + hashlib.sha256(d).hexdigest() for d in LAYERS
        ]
        assert [b"".join(stored.layer(layer).chunks()) for layer in manifest.layers] == LAYERS
        again = Copier(other, host_platform()).copy(stored, [NAME], None, Cancellation(), Progress(), "x")
        assert again.image_id == copied.image_id
        assert b"".join(other.layer_tar(other.image(NAME).layer)) == LAYERS[1]


def test_a_store_that_is_not_there_is_not_made(root: str) -> None:
    with pytest.raises(NotFound, match="there is none"):
        StoredName("a", graphroot=f"{root}/none").open_store()
