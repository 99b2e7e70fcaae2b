"""One blob of a registry as a stream of bytes in order, with what an earlier attempt has left of it.

A transfer that keeps up with whoever reads it is passed on and leaves nothing on disk. One that makes its reader wait
is worth keeping: from then on its bytes are also written to a `KeptBlob`, and if much is left and the registry can do
ranges, several connections fetch it at once, each one piece after the other.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence

from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.registry.client import CHUNK, NoRanges, RegistryClient
from crio.image.transfer.kept import KeptBlob, KeptBlobs

log = logging.getLogger(__name__)

KEEP_AFTER = 1.0
"""Seconds spent waiting for the network after which a blob is kept."""
KEEP_FROM = 1 << 20
"""Bytes that must still be missing, for a blob to be worth keeping."""
PARALLEL_FROM = 64 << 20
"""Missing bytes from which on several ranges are fetched at once."""
CONNECTIONS = 4
PIECE = 8 << 20
_WAKE = 0.5


class BlobFetch:
    """Fetches one blob, once: what `LayerContent` in source/base.py says."""

    def __init__(
        self,
        client: RegistryClient,
        digest: Digest,
        size: int | None,
        urls: Sequence[str],
        blobs: KeptBlobs | None,
        scope: Cancellation,
        *,
        keep_after: float = KEEP_AFTER,
        parallel_from: int = PARALLEL_FROM,
        piece: int = PIECE,
    ) -> None:
        self._client = client
        self._digest = digest
        self._size = size
        self._urls = tuple(urls)
        self._blobs = blobs if size is not None else None
        self._scope = scope
        self._keep_after = keep_after
        self._parallel_from = parallel_from
        self._piece = piece
        self._waited = 0.0
        self._one_by_one = False
        self._kept: KeptBlob | None = None
        self._resumed = False

    def chunks(self) -> Generator[bytes, None, None]:
        """The blob's bytes. Raises as `RegistryClient.blob`."""
        if self._blobs is None or self._size is None:
            yield from self._client.blob(self._digest, self._size, self._urls)
            return
        self._kept = self._blobs.find(self._digest, self._size)
        if self._kept is not None:
            # It was worth keeping before.
            self._waited = self._keep_after
            self._resumed = self._kept.found > 0
            if self._resumed:
                log.info("resuming blob %s: %d of %d bytes are here", self._digest, self._kept.found, self._size)
        position = 0
        while position < self._size:
            end = self._kept.available(position) if self._kept is not None else position
            if end > position:
                position = yield from self._from_disk(position, end)
                continue
            end = self._kept.gap_end(position) if self._kept is not None else self._size
            if self._is_slow and self._many_help(position, end) and self._worth_keeping(position):
                position = yield from self._in_parallel(position, end)
            else:
                position = yield from self._in_order(position, end)

    def settle(self) -> bool:
        if self._kept is not None:
            self._kept.discard()
            self._kept.close()
            self._kept = None
        return self._resumed

    def leave(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @property
    def _is_slow(self) -> bool:
        return self._waited >= self._keep_after

    def _many_help(self, position: int, end: int) -> bool:
        return not self._one_by_one and end - position >= self._parallel_from

    def _worth_keeping(self, position: int) -> bool:
        """Whether there is a file to keep pieces in; it is made when it is first worth having."""
        assert self._size is not None
        assert self._blobs is not None
        if self._kept is None and self._size - position >= KEEP_FROM:
            self._kept = self._blobs.open(self._digest, self._size)
        return self._kept is not None

    def _from_disk(self, position: int, end: int) -> Generator[bytes, None, int]:
        assert self._kept is not None
        while position < end:
            data = self._kept.read(position, min(CHUNK, end - position))
            if not data:
                # Somebody has cut the file: there is no use in it.
                self.settle()
                break
            position += len(data)
            yield data
        return position

    def _in_order(self, position: int, end: int) -> Generator[bytes, None, int]:
        """By one connection, up to `end`, or until it proves slow and parallel ranges would help."""
        stop = end if self._kept is not None and end != self._size else None
        stream = self._client.blob(self._digest, self._size, self._urls, position, stop)
        was_slow = self._is_slow
        with contextlib.closing(stream):
            while True:
                begin = time.perf_counter()
                chunk = next(stream, b"")
                if not chunk:
                    return position
                self._waited += time.perf_counter() - begin
                if self._is_slow and self._worth_keeping(position):
                    self._keep(position, chunk)
                position += len(chunk)
                yield chunk
                if not was_slow and self._is_slow and self._many_help(position, end) and self._client.has_ranges:
                    return position

    def _in_parallel(self, position: int, end: int) -> Generator[bytes, None, int]:
        assert self._kept is not None
        with self._scope.part() as part:
            ranges = _Ranges(self._client, self._digest, self._size, self._urls, self._kept, part)
            ranges.start(_pieces(position, end, self._piece))
            try:
                while position < end:
                    reached = ranges.wait(position)
                    if reached == position:
                        break
                    while position < reached:
                        data = self._kept.read(position, min(CHUNK, reached - position))
                        if not data:
                            return position
                        position += len(data)
                        yield data
            finally:
                ranges.stop()
        if position < end:
            # The server, or the disk, does not go along: the rest comes by one connection.
            self._one_by_one = True
        return position

    def _keep(self, position: int, chunk: bytes) -> None:
        assert self._kept is not None
        try:
            self._kept.write(position, chunk)
        except OSError as error:
            log.warning("cannot keep what is received of %s: %s", self._digest, error)
            self.settle()
            self._blobs = None
            self._waited = float("-inf")


class _Ranges:
    """Threads that fill a kept blob, piece by piece from the front."""

    def __init__(
        self,
        client: RegistryClient,
        digest: Digest,
        size: int | None,
        urls: tuple[str, ...],
        kept: KeptBlob,
        scope: Cancellation,
    ) -> None:
        self._client = client
        self._digest = digest
        self._size = size
        self._urls = urls
        self._kept = kept
        self._scope = scope
        self._todo: deque[tuple[int, int]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._error: Exception | None = None

    def start(self, pieces: Sequence[tuple[int, int]]) -> None:
        self._todo.extend(pieces)
        self._working = min(CONNECTIONS, len(pieces))
        for number in range(self._working):
            thread = threading.Thread(target=self._work, name=f"range {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, position: int) -> int:
        """Up to where bytes are here, at least one more than `position`; `position` itself if none will come.

        Raises what ended the threads.
        """
        with self._changed:
            while (reached := self._kept.available(position)) == position:
                if self._error is not None:
                    if isinstance(self._error, (NoRanges, OSError)):
                        return position
                    raise self._error
                if not self._working:
                    return position
                self._changed.wait(_WAKE)
            return reached

    def stop(self) -> None:
        self._todo.clear()
        self._scope.cancel("it is not needed any more")
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while self._error is None and (piece := self._take()) is not None:
                position, stop = piece
                stream = self._client.blob(
                    self._digest, self._size, self._urls, position, stop, only_ranges=True, scope=self._scope
                )
                with contextlib.closing(stream):
                    for chunk in stream:
                        self._kept.write(position, chunk)
                        position += len(chunk)
                        with self._changed:
                            self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - handed to the thread that reads
            with self._changed:
                self._error = self._error or error
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[int, int] | None:
        try:
            return self._todo.popleft()
        except IndexError:
            return None


def _pieces(position: int, end: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, end)) for start in range(position, end, size)]
