from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator

import pytest

import images
from crio.base.errors import Cancelled, CrioError, ResourceExhausted
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.documents import Served
from crio.image.errors import BadContent, BadImage, RegistryUnavailable
from crio.image.progress import LayerState, Progress
from crio.image.staging import Stager
from crio.spec.oci_image import LAYER_GZIP, Descriptor
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root

TAR = images.layer({"file": os.urandom(200_000)})
BLOB = gzip.compress(TAR, 1)


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


LAYER = Descriptor(media_type=LAYER_GZIP, digest=sha256(BLOB), size=len(BLOB))


class Content:
    """A layer whose bytes, or whose end, are told beforehand, and what becomes of it."""

    def __init__(self, data: bytes, error: Exception | None = None, *, kept: bool = False) -> None:
        self._data = data
        self._error = error
        self._kept = kept
        self.end: list[str] = []

    def chunks(self) -> Generator[bytes, None, None]:
        for start in range(0, len(self._data), 50_000):
            yield self._data[start : start + 50_000]
        if self._error is not None:
            raise self._error

    def settle(self) -> bool:
        self.end.append("settled")
        return self._kept

    def leave(self) -> None:
        self.end.append("left")


class Source:
    """Gives these contents, one after the other."""

    def __init__(self, *contents: Content) -> None:
        self._contents = list(contents)

    def manifest(self, digest: Digest | None) -> Served:
        raise AssertionError("not asked for")

    def config(self, descriptor: Descriptor) -> bytes:
        raise AssertionError("not asked for")

    def layer(self, descriptor: Descriptor) -> Content:
        return self._contents.pop(0)

    def part(self, descriptor: Descriptor, start: int, stop: int) -> None:
        return None


@pytest.fixture
def store() -> Iterator[Store]:
    root = tempfile.mkdtemp(prefix="crio-staging-", dir="/dev/shm")
    with Store.open(StoreOptions(f"{root}/graph", f"{root}/run", sync=False)) as opened:
        yield opened
    subprocess.run(["umount", "-lq", f"{root}/graph/overlay"], check=False)
    shutil.rmtree(root)


def test_what_was_kept_is_settled_once_the_layer_is_in_the_store(store: Store) -> None:
    content, progress = Content(BLOB), Progress()
    with Stager(store).fetch(Source(content), LAYER, sha256(TAR), Cancellation(), progress) as staged:
        assert content.end == []
        assert staged.diff_id == sha256(TAR)
        assert staged.size == len(BLOB)
        layer_id = staged.commit(None)
        assert content.end == ["settled"]
    assert store.layer(layer_id).compressed_diff_digest == sha256(BLOB)
    [shown] = progress.take_changes()[0]
    assert (shown.done, shown.state) == (len(BLOB), LayerState.FETCHING)


def test_a_layer_that_never_got_its_place_is_left(store: Store) -> None:
    content = Content(BLOB)
    Stager(store).fetch(Source(content), LAYER, None, Cancellation(), Progress()).close()
    assert content.end == ["left"]


@pytest.mark.parametrize("error", [RegistryUnavailable("gone"), Cancelled("enough")])
def test_an_interrupted_transfer_is_left_for_the_next(store: Store, error: CrioError) -> None:
    content = Content(BLOB[:100_000], error)
    with pytest.raises(type(error)):
        Stager(store).fetch(Source(content), LAYER, None, Cancellation(), Progress())
    assert content.end == ["left"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (Content(BLOB[:-1] + b"?"), BadContent),
        (Content(BLOB, ResourceExhausted("full")), ResourceExhausted),
        (Content(BLOB[: len(BLOB) // 2]), BadContent),
    ],
)
def test_what_is_of_no_use_is_not_kept(store: Store, content: Content, error: type[CrioError]) -> None:
    with pytest.raises(error):
        Stager(store).fetch(Source(content), LAYER, None, Cancellation(), Progress())
    assert content.end[0] == "settled"


def test_wrong_kept_pieces_cost_one_more_attempt(store: Store) -> None:
    first, second = Content(b"wrong" + BLOB[5:], kept=True), Content(BLOB)
    with Stager(store).fetch(Source(first, second), LAYER, sha256(TAR), Cancellation(), Progress()) as staged:
        staged.commit(None)
    assert first.end[0] == "settled"
    assert second.end[0] == "settled"
    third, fourth = Content(b"wrong" + BLOB[5:], kept=True), Content(b"wrong" + BLOB[5:])
    with pytest.raises(BadContent):
        Stager(store).fetch(Source(third, fourth), LAYER, None, Cancellation(), Progress())


def test_another_diff_id_than_the_configuration_says(store: Store) -> None:
    with pytest.raises(BadContent, match="unpacked it is"):
        Stager(store).fetch(Source(Content(BLOB)), LAYER, sha256(b""), Cancellation(), Progress())


def test_what_another_pull_has_put_there_is_not_fetched(store: Store) -> None:
    stager, chain = Stager(store), [sha256(TAR)]
    with stager.stage(Source(Content(BLOB)), LAYER, chain, None, Cancellation(), Progress()) as staged:
        layer_id = staged.commit(None)
    with stager.stage(Source(), LAYER, chain, None, Cancellation(), Progress()) as again:
        assert again.commit(None) == layer_id


def test_a_failure_ends_the_other_layers_of_the_pull(store: Store) -> None:
    part = Cancellation()
    damaged = BLOB[:1000] + bytes([BLOB[1000] ^ 1]) + BLOB[1001:]
    layer = Descriptor(media_type=LAYER_GZIP, digest=sha256(damaged), size=len(damaged))
    with pytest.raises(BadImage):
        Stager(store).stage(Source(Content(damaged)), layer, [sha256(TAR)], None, part, Progress())
    assert part.cancelled
