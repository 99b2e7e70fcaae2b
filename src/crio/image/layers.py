"""One layer on its way from a source into the store: hashed, expanded, hashed again and unpacked, in one pass.

Two threads share the work of a layer, so that on two cores receiving and expanding overlap with unpacking; a bounded
queue between them keeps memory flat. Nothing is kept of the compressed form.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from crio.base.errors import DataLoss, InvalidArgument
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.compression import MAGIC_LENGTH, Compression, detect, expander
from crio.image.errors import BadContent

_QUEUED = 4
"""Pieces between the threads, of at most 256 KiB each."""
_INLINE = 512 << 10
"""Compressed bytes up to which a second thread is not worth its start."""


class TarSink(Protocol):
    """Takes the uncompressed tar stream."""

    def write(self, data: bytes) -> None: ...


class Received(msgspec.Struct, frozen=True):
    """What a layer was as it came."""

    digest: Digest
    size: int
    compression: Compression


def receive_layer(
    chunks: Iterator[bytes],
    sink: TarSink,
    scope: Cancellation,
    *,
    digest: Digest,
    size: int | None,
    on_bytes: Callable[[int], None] = lambda total: None,
    opened: Callable[[Iterator[bytes]], Iterator[bytes]] = iter,
) -> Received:
    """Feed `sink` with the expanded layer, and verify what came against `digest` and `size`.

    `on_bytes` is called with the number of bytes received so far; `opened` decrypts what was received. Raises
    BadContent, BadImage, Cancelled, and what `chunks`, `opened` and `sink` raise.
    """
    hasher = hashlib.new(digest.partition(":")[0])
    total = 0
    complete = False

    def hashed() -> Iterator[bytes]:
        nonlocal total, complete
        for chunk in chunks:
            scope.check()
            hasher.update(chunk)
            total += len(chunk)
            on_bytes(total)
            yield chunk
        complete = True

    def check_digest() -> None:
        found = f"{hasher.name}:{hasher.hexdigest()}"
        if found != digest:
            raise BadContent(f"cannot use layer {digest}: what was received has the digest {found}")

    stream = hashed()
    try:
        if size is not None and size <= _INLINE:
            compression = _expand(opened(stream), sink.write)
        else:
            with _Unpacking(sink) as unpacking:
                compression = _expand(opened(stream), unpacking.put)
    except (InvalidArgument, DataLoss):
        # Was it made wrong, or damaged on its way? The digest of the whole tells.
        for _ in stream:
            pass
        if complete:
            check_digest()
        raise
    check_digest()
    if size is not None and total != size:
        raise BadContent(f"cannot use layer {digest}: {total} bytes were received and not {size}")
    return Received(digest, total, compression)


def _expand(chunks: Iterator[bytes], put: Callable[[bytes], None]) -> Compression:
    head = b""
    while len(head) < MAGIC_LENGTH and (chunk := next(chunks, b"")):
        head += chunk
    compression = detect(head[:MAGIC_LENGTH])
    expand = expander(compression)
    for piece in expand.feed(head):
        put(piece)
    for chunk in chunks:
        for piece in expand.feed(chunk):
            put(piece)
    expand.finish()
    return compression


class _Unpacking:
    """A thread that writes into the sink what is put. Its error is raised by the next `put`, or at the end."""

    def __init__(self, sink: TarSink) -> None:
        self._sink = sink
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="unpack", daemon=True)

    def put(self, piece: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(piece)

    def __enter__(self) -> _Unpacking:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._stop = kind is not None
        self._queue.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            # After an error the queue is still emptied, so that `put` never blocks.
            if self._error is None and not self._stop:
                try:
                    self._sink.write(piece)
                except BaseException as error:  # noqa: BLE001 - handed to the thread that puts
                    self._error = error
