"""Images in the store judged again: by kept signatures, under the name they are used by."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import NotFound
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.copy import Copier
from crio.image.errors import SignatureValidationFailed
from crio.image.platforms import host_platform
from crio.image.progress import Progress
from crio.image.source.files import DirectoryFiles
from crio.image.source.layout import LayoutSource, entries_by_name
from crio.image.trust.admission import Admission, in_directory, nowhere
from crio.image.trust.policy import Policy, parse
from crio.image.trust.signatures import Signature, SimpleSignature
from crio.image.trust.stored import verify
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from crio.wire import reference
from images import layer, layout
from trust_bed import Gpg, simple_payload

NAME = "a.example/app:1"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    made = Gpg(tmp_path_factory.mktemp("gpg"))
    yield made
    made.close()


@pytest.fixture
def store() -> Iterator[Store]:
    directory = tempfile.mkdtemp(prefix="crio-trust-", dir="/dev/shm")
    with Store.open(StoreOptions(f"{directory}/graph", f"{directory}/run", sync=False)) as opened:
        yield opened
    subprocess.run(["umount", "-lq", f"{directory}/graph/overlay"], check=False)
    shutil.rmtree(directory)


class Bed:
    """Copies one image under several names and manifests into the store."""

    def __init__(self, store: Store, root: Path, gpg: Gpg) -> None:
        self.store = store
        self.gpg = gpg
        self.layout = layout(str(root / "layout"), "x", [layer({"a": b"a"})])
        self.copier = Copier(store, host_platform())
        self.image_id = ""

    def digest(self) -> Digest:
        (entry,) = json.loads(Path(self.layout, "index.json").read_text())["manifests"]
        return Digest(entry["digest"])

    def another_manifest(self) -> None:
        """The same image by another manifest."""
        path = Path(self.layout, "blobs", self.digest().replace(":", "/"))
        value = {**json.loads(path.read_text()), "annotations": {"built": "again"}}
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        Path(self.layout, "blobs/sha256", digest).write_bytes(data)
        index = json.loads(Path(self.layout, "index.json").read_text())
        index["manifests"][0].update(digest=f"sha256:{digest}", size=len(data))
        Path(self.layout, "index.json").write_text(json.dumps(index))

    def copy(self, name: str, *signed_for: str) -> None:
        payloads = [simple_payload(self.digest(), text) for text in signed_for]
        signatures: list[Signature] = [SimpleSignature(self.gpg.sign(payload)) for payload in payloads]
        files = DirectoryFiles(self.layout)
        source = LayoutSource(files, entries_by_name(files, host_platform())["x"])
        admission = Admission((), reference.parse(name), name, lambda digest: signatures)
        copied = self.copier.copy(source, [name], None, Cancellation(), Progress(), name, admission)
        self.image_id = copied.image_id

    def policy(self, **more: Any) -> Policy:
        requirement = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": self.gpg.public, **more}
        return parse(json.dumps({"default": [requirement]}).encode(), "policy.json")

    def verify(self, *names: str, **more: Any) -> None:
        verify(self.store, self.image_id, [reference.parse(name) for name in names], self.policy(**more), "")


@pytest.fixture
def bed(store: Store, tmp_path: Path, gpg: Gpg) -> Bed:
    return Bed(store, tmp_path, gpg)


def test_kept_signatures(bed: Bed) -> None:
    bed.copy(NAME, NAME)
    bed.verify(NAME)
    with pytest.raises(SignatureValidationFailed, match="is for the name"):
        bed.verify("a.example/other:1")
    # One accepted name suffices.
    bed.verify("a.example/other:1", NAME)
    with pytest.raises(SignatureValidationFailed, match="is for the name"):
        bed.verify()
    bed.verify(signedIdentity={"type": "exactReference", "dockerReference": NAME})
    verify(bed.store, bed.image_id, [], None, "")
    with pytest.raises(NotFound):
        verify(bed.store, "0" * 64, [], None, "")


def test_a_copy_without_signatures_takes_none_away(bed: Bed) -> None:
    bed.copy(NAME, NAME)
    bed.copy("localhost/copy:1")
    bed.verify(NAME)
    bed.copy(NAME, "a.example/more:1")
    bed.verify(NAME)
    bed.verify("a.example/more:1")


def test_several_manifests_of_one_image(bed: Bed) -> None:
    bed.copy(NAME, NAME)
    first, image = bed.digest(), bed.image_id
    bed.another_manifest()
    bed.copy("b.example/app:1", "b.example/app:1")
    assert (bed.image_id, bed.digest() != first) == (image, True)
    bed.verify(NAME)
    bed.verify("b.example/app:1")
    bed.verify(f"a.example/app@{first}")
    # By a digest only the signatures of that manifest count.
    with pytest.raises(SignatureValidationFailed):
        bed.verify(f"a.example/app@{bed.digest()}")


def test_what_the_store_has_lost(bed: Bed) -> None:
    bed.copy(NAME, NAME)
    content = bed.store.image_big_data(bed.image_id, f"signature-{bed.digest().partition(':')[2]}")
    for path in Path(bed.store.options.graphroot, "overlay-images", bed.image_id).iterdir():
        if path.read_bytes() == content:
            os.truncate(path, 3)
    with pytest.raises(SignatureValidationFailed, match="some are cut off"):
        bed.verify(NAME)


def test_signatures_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "signature-1").write_bytes(b"\xa3one")
    (tmp_path / "signature-2").write_bytes(b"junk")
    find = in_directory(DirectoryFiles(str(tmp_path)))
    digest = Digest("sha256:" + "a" * 64)
    assert find(digest) == [SimpleSignature(b"\xa3one")]
    (tmp_path / f"{'a' * 64}.signature-1").write_bytes(b"\xa3own")
    assert find(digest) == [SimpleSignature(b"\xa3own")]
    assert nowhere(digest) == []
