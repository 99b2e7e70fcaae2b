from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Iterator

import pytest

from crio.base.errors import Cancelled
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.compression import Compression
from crio.image.errors import BadContent, BadImage
from crio.image.layers import receive_layer

DATA = random.Random(1).randbytes(3_000_000)
PACKED = gzip.compress(DATA, 1)


class Sink:
    def __init__(self, fail_after: int = 1 << 60) -> None:
        self.data = bytearray()
        self.fail_after = fail_after

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > self.fail_after:
            raise OSError(28, "No space left on device")


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def pieces(data: bytes, size: int = 100_000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize(
    "data", [PACKED, DATA, gzip.compress(b"short"), b"tiny"], ids=["packed", "plain", "short", "tiny"]
)
@pytest.mark.parametrize("known_size", [True, False])
@pytest.mark.parametrize("step", [3, 100_000])
def test_layers(data: bytes, known_size: bool, step: int) -> None:
    if step == 3:
        data = data[:0] if len(data) > 1000 else data
    sink, totals = Sink(), [0]
    received = receive_layer(
        pieces(data, step),
        sink,
        Cancellation(),
        digest=digest_of(data),
        size=len(data) if known_size else None,
        on_bytes=totals.append,
    )
    packed = data[:2] == b"\x1f\x8b"
    assert bytes(sink.data) == (gzip.decompress(data) if packed else data)
    assert received.compression is (Compression.GZIP if packed else Compression.NONE)
    assert received.size == totals[-1] == len(data)


def test_other_algorithm() -> None:
    digest = digest_of(PACKED, "sha512")
    assert receive_layer(pieces(PACKED), Sink(), Cancellation(), digest=digest, size=None).digest == digest


def test_wrong_digest_and_size() -> None:
    with pytest.raises(BadContent, match="has the digest"):
        receive_layer(pieces(PACKED), Sink(), Cancellation(), digest=digest_of(b""), size=None)
    with pytest.raises(BadContent, match="bytes were received"):
        receive_layer(pieces(PACKED), Sink(), Cancellation(), digest=digest_of(PACKED), size=len(PACKED) - 1)


def test_damage_on_the_way_is_told_from_a_bad_layer() -> None:
    damaged = PACKED[:500_000] + bytes([PACKED[500_000] ^ 1]) + PACKED[500_001:]
    with pytest.raises(BadContent, match="has the digest"):
        receive_layer(pieces(damaged), Sink(), Cancellation(), digest=digest_of(PACKED), size=len(PACKED))
    with pytest.raises(BadImage, match="gzip data are damaged"):
        receive_layer(pieces(damaged), Sink(), Cancellation(), digest=digest_of(damaged), size=len(damaged))


def test_an_error_of_the_sink_is_raised_and_the_thread_ends() -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="No space"):
        receive_layer(pieces(PACKED), Sink(500_000), Cancellation(), digest=digest_of(PACKED), size=None)
    assert threading.active_count() <= before


def test_an_error_of_the_source_is_raised_and_the_thread_ends() -> None:
    def broken() -> Iterator[bytes]:
        yield PACKED[:1_000_000]
        raise BadContent("broken")

    before = threading.active_count()
    with pytest.raises(BadContent, match="broken"):
        receive_layer(broken(), Sink(), Cancellation(), digest=digest_of(PACKED), size=None)
    assert threading.active_count() <= before


def test_cancel() -> None:
    scope = Cancellation()

    def source() -> Iterator[bytes]:
        yield PACKED[:1_000_000]
        scope.cancel("enough")
        yield PACKED[1_000_000:]

    with pytest.raises(Cancelled):
        receive_layer(source(), Sink(), scope, digest=digest_of(PACKED), size=None)
