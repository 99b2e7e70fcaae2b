"""Compressed streams of layers: recognised by their first bytes, expanded in bounded pieces.

Media types are not believed: what tools write there is often wrong. Several members or frames in a row are one stream,
as all the formats' own programs have it. Each piece of output is at most PIECE long, so memory stays bounded whatever
the input claims. Blocking; for the image worker.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from crio.image.errors import BadImage

PIECE = 256 << 10
MAGIC_LENGTH = 6
_MAX_WINDOW_LOG = 27
"""zstd: 128 MiB of window, what its own program takes without being asked."""
_XZ_MEMORY = 256 << 20

_GZIP_FORMAT = 31
_SKIPPABLE = (0x184D2A50, 0x184D2A5F)


class Compression(enum.IntEnum):
    """Numbers as containers/storage records them."""

    NONE = 0
    BZIP2 = 1
    GZIP = 2
    XZ = 3
    ZSTD = 4


class Expander(Protocol):
    """Takes compressed bytes and gives the expanded ones."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The output that `data` makes possible; to be read to its end before the next call. Raises BadImage."""

    def finish(self) -> None:
        """The input is over. Raises BadImage if the stream is not."""


def detect(head: bytes) -> Compression:
    """The compression of a stream from its first MAGIC_LENGTH bytes."""
    if head.startswith(b"\x1f\x8b\x08"):
        return Compression.GZIP
    if head.startswith(b"\x28\xb5\x2f\xfd") or _is_skippable(head):
        return Compression.ZSTD
    if head.startswith(b"\xfd7zXZ\x00"):
        return Compression.XZ
    if head.startswith(b"BZh"):
        return Compression.BZIP2
    return Compression.NONE


def expander(compression: Compression) -> Expander:
    # lazy: each library is loaded when the first layer needs it
    match compression:
        case Compression.NONE:
            return _Plain()
        case Compression.GZIP:
            return _Gzip()
        case Compression.ZSTD:
            try:
                from compression import zstd  # type: ignore[import-not-found, unused-ignore]
            except ImportError:
                from backports import zstd
            options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
            return _Frames("zstd", lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)
        case Compression.BZIP2:
            import bz2

            return _Frames("bzip2", bz2.BZ2Decompressor, OSError)
        case Compression.XZ:
            import lzma

            return _Frames("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), lzma.LZMAError)


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Gzip:
    def __init__(self) -> None:
        from isal import isal_zlib

        self._new = isal_zlib.decompressobj
        self._errors: tuple[type[Exception], ...] = (cast("type[Exception]", isal_zlib.error), zlib.error)
        self._member = self._new(_GZIP_FORMAT)
        self._members = 0
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = data
        while rest:
            if not self._begun and self._members:
                # Padding with zeros after the last member is allowed (gzip's own manual).
                rest = rest.lstrip(b"\0")
                if not rest:
                    return
                self._member = self._new(_GZIP_FORMAT)
            self._begun = True
            try:
                piece = self._member.decompress(rest, PIECE)
            except self._errors as error:
                raise BadImage(f"cannot unpack layer: its gzip data are damaged: {error}") from None
            if piece:
                yield piece
            if self._member.eof:
                rest = self._member.unused_data
                self._members += 1
                self._begun = False
            else:
                rest = self._member.unconsumed_tail

    def finish(self) -> None:
        if self._begun or not self._members:
            raise BadImage("cannot unpack layer: its gzip data end too early")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Frames:
    """The formats whose Python decompressors share one interface."""

    def __init__(self, name: str, new: Callable[[], _Decompressor], error: type[Exception]) -> None:
        self._name = name
        self._new = new
        self._error = error
        self._frame: _Decompressor | None = None
        self._frames = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = data
        while True:
            if self._frame is None:
                if self._name == "xz" and self._frames:
                    rest = rest.lstrip(b"\0")
                if not rest:
                    return
                self._frame = self._new()
            try:
                piece = self._frame.decompress(rest, PIECE)
            except (self._error, EOFError) as error:
                raise BadImage(f"cannot unpack layer: its {self._name} data are damaged: {error}") from None
            rest = b""
            if piece:
                yield piece
            if self._frame.eof:
                rest = self._frame.unused_data
                self._frame = None
                self._frames += 1
            elif self._frame.needs_input:
                return

    def finish(self) -> None:
        if self._frame is not None or not self._frames:
            raise BadImage(f"cannot unpack layer: its {self._name} data end too early")


def _is_skippable(head: bytes) -> bool:
    return len(head) >= 4 and _SKIPPABLE[0] <= int.from_bytes(head[:4], "little") <= _SKIPPABLE[1]
