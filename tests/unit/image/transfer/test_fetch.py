from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import images
from crio.base.errors import Cancelled, CrioError
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.documents import digest_of, parse_document
from crio.image.errors import BadContent, RegistryUnavailable
from crio.image.registries import Endpoint
from crio.image.registry.client import NoRanges, RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import Proxies
from crio.image.registry.tls import TlsContexts
from crio.image.transfer.fetch import BlobFetch
from crio.image.transfer.kept import KeptBlobs
from crio.spec.oci_image import Manifest
from crio.wire import reference
from fault_proxy import Fault, FaultProxy, fault_proxy
from registry_server import RunningRegistry, registry

NAME = "team/app"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    layout = images.layout(str(directory / "layout"), layers=[images.layer({"blob": os.urandom(6 << 20)})])
    with registry(str(directory / "run")) as running:
        running.push(f"oci:{layout}:localhost/test:latest", f"{NAME}:1")
        yield running


@pytest.fixture
def proxy(plain: RunningRegistry) -> Iterator[FaultProxy]:
    with fault_proxy(plain.host) as running:
        yield running


@pytest.fixture
def blobs(tmp_path: Path) -> KeptBlobs:
    return KeptBlobs(str(tmp_path / "kept"))


class Blob:
    """The layer of the image in the registry, as it is fetched through the proxy."""

    def __init__(self, proxy: FaultProxy, scope: Cancellation | None = None) -> None:
        self.scope = scope or Cancellation()
        http = HttpClient(TlsContexts([]), Proxies(), read_timeout=60.0)
        endpoint = Endpoint(reference.parse(f"{proxy.host}/{NAME}"), insecure=True, mirror=False)
        self.client = RegistryClient(http, endpoint, None, self.scope)
        self.proxy = proxy
        served = self.client.manifest("1")
        manifest = parse_document(served.data, served.media_type, NAME)
        assert isinstance(manifest, Manifest)
        self.digest, self.size = Digest(manifest.layers[0].digest), manifest.layers[0].size

    def fetch(self, blobs: KeptBlobs | None, *, keep_after: float = 0.0, parallel_from: int = 1 << 40) -> BlobFetch:
        return BlobFetch(
            self.client,
            self.digest,
            self.size,
            (),
            blobs,
            self.scope,
            keep_after=keep_after,
            parallel_from=parallel_from,
            piece=1 << 20,
        )

    def ranges(self) -> list[str]:
        return [request.headers.get("range", "") for request in self.proxy.seen if "/blobs/" in request.path]

    def interrupt(self, blobs: KeptBlobs, at: int, **options: int) -> None:
        """Fetch it up to `at`, and no more."""
        fetch = self.fetch(blobs, **options)
        chunks = fetch.chunks()
        position = 0
        while position < at:
            position += len(next(chunks))
        chunks.close()
        fetch.leave()


def test_a_quick_blob_leaves_nothing(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    fetch = blob.fetch(blobs, keep_after=60.0)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    assert not fetch.settle()
    assert not os.path.exists(blobs.directory)
    assert blob.ranges() == [""]


def test_it_goes_on_where_it_was_interrupted(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    blob.interrupt(blobs, 3 << 20)
    assert blobs.usage() >= 3 << 20
    again = blob.fetch(blobs)
    assert digest_of(b"".join(again.chunks())) == blob.digest
    first, second = blob.ranges()
    assert first == ""
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= 3 << 20
    assert again.settle()
    assert blobs.usage() == 0


def test_what_came_quickly_is_fetched_again_and_the_rest_is_not(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    """Nothing is written before a transfer proves slow: then only its later bytes are there."""
    blob = Blob(proxy)
    kept = blobs.open(blob.digest, blob.size)
    assert kept is not None
    data = b"".join(blob.fetch(None).chunks())
    kept.write(2 << 20, data[2 << 20 : 4 << 20])
    kept.close()
    fetch = blob.fetch(blobs)
    assert b"".join(fetch.chunks()) == data
    assert blob.ranges()[1:] == [f"bytes=0-{(2 << 20) - 1}", f"bytes={4 << 20}-"]
    assert fetch.settle()


def test_several_ranges_at_once(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    proxy.faults["/blobs/"] = [Fault(), Fault(cut_after=5000), Fault(status=503), Fault(pause=0.01, piece=1 << 18)]
    fetch = blob.fetch(blobs, parallel_from=2 << 20)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    assert not fetch.settle(), "nothing of it is from an earlier attempt"
    asked = [text for text in blob.ranges() if text]
    assert len(asked) >= 6, "pieces of 1 MiB"
    assert all(not text.endswith("-") for text in asked)
    assert blobs.usage() == 0


def test_a_transfer_that_proves_slow_goes_on_by_several(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    proxy.faults["/blobs/"] = [Fault(pause=0.1, piece=1 << 18)]
    fetch = blob.fetch(blobs, keep_after=0.3, parallel_from=2 << 20)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    first, *others = blob.ranges()
    assert first == ""
    assert len(others) >= 3
    assert all(text and not text.endswith("-") for text in others)
    assert not fetch.settle()
    assert blobs.usage() == 0


def test_several_ranges_are_kept_too(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    blob.interrupt(blobs, 4 << 20, parallel_from=2 << 20)
    before = len(blob.ranges())
    fetch = blob.fetch(blobs)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    assert fetch.settle()
    missing = [text for text in blob.ranges()[before:] if text]
    assert all(int(text.removeprefix("bytes=").partition("-")[0]) >= 4 << 20 for text in missing)


def test_a_server_without_ranges_sends_it_in_one(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    kept = blobs.open(blob.digest, blob.size)
    assert kept is not None
    kept.close()
    proxy.faults["/blobs/"] = [Fault(ignore_range=True, times=99)]
    fetch = blob.fetch(blobs, parallel_from=2 << 20)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    assert not fetch.settle()
    assert blob.ranges()[-1] == ""
    with pytest.raises(NoRanges):
        next(blob.client.blob(blob.digest, blob.size, start=5, stop=10, only_ranges=True))
    assert (
        b"".join(blob.client.blob(blob.digest, blob.size, start=5, stop=10))
        == b"".join(blob.client.blob(blob.digest, blob.size))[5:10]
    )


def test_trouble_in_one_range_is_told(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    kept = blobs.open(blob.digest, blob.size)
    assert kept is not None
    kept.close()
    proxy.faults["/blobs/"] = [Fault(status=400, times=99)]
    fetch = blob.fetch(blobs, parallel_from=2 << 20)
    with pytest.raises(RegistryUnavailable, match="400"):
        list(fetch.chunks())
    fetch.leave()


def test_wrong_pieces_are_known_to_be_old(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    """Whoever checks the digest is told that it may be the pieces that were wrong."""
    blob = Blob(proxy)
    kept = blobs.open(blob.digest, blob.size)
    assert kept is not None
    kept.write(0, b"wrong")
    kept.close()
    fetch = blob.fetch(blobs)
    assert digest_of(b"".join(fetch.chunks())) != blob.digest
    assert fetch.settle()
    assert blobs.usage() == 0


def test_a_file_that_was_cut_is_given_up(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    blob.interrupt(blobs, 3 << 20)
    os.truncate(os.path.join(blobs.directory, blob.digest.replace(":", "-")), 1 << 20)
    fetch = blob.fetch(blobs)
    assert digest_of(b"".join(fetch.chunks())) == blob.digest
    fetch.settle()


@pytest.mark.parametrize("parallel_from", [1 << 20, 1 << 40])
def test_cancel(proxy: FaultProxy, blobs: KeptBlobs, parallel_from: int) -> None:
    scope = Cancellation()
    blob = Blob(proxy, scope)
    kept = blobs.open(blob.digest, blob.size)
    assert kept is not None
    kept.close()
    fetch = blob.fetch(blobs, parallel_from=parallel_from)
    chunks = fetch.chunks()
    next(chunks)
    scope.cancel("enough")
    with pytest.raises(Cancelled):
        list(chunks)
    fetch.leave()


def test_a_full_disk_is_no_reason_to_fail(proxy: FaultProxy, blobs: KeptBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = Blob(proxy)

    def full(fd: int, data: bytes, position: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crio.image.transfer.kept.os.pwrite", full)
    for parallel_from in (1 << 20, 1 << 40):
        fetch = blob.fetch(blobs, parallel_from=parallel_from)
        assert digest_of(b"".join(fetch.chunks())) == blob.digest
        fetch.settle()
    assert blobs.usage() == 0


def test_a_wrong_length_is_told(proxy: FaultProxy, blobs: KeptBlobs) -> None:
    blob = Blob(proxy)
    proxy.faults["/blobs/"] = [Fault(extra_length=7)]
    fetch = blob.fetch(blobs)
    with pytest.raises(BadContent) as caught:
        list(fetch.chunks())
    assert isinstance(caught.value, CrioError)
    fetch.leave()
