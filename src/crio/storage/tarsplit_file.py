"""The tar-split file of a layer: gzip'ed records, written while the layer is unpacked and read when it is exported."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Protocol

from crio.base.errors import DataLoss
from crio.wire.tarsplit import MAX_LINE, File, Segment, TarSplitEncoder, decode

_BUFFER = 1 << 18
_READ = 1 << 18
_LEVEL = 1


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class TarSplitWriter:
    """Writes one file from the members as they pass."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by `close`
        os.fchmod(self._file.fileno(), 0o600)
        self._compressor = _compressor()
        self._encoder = TarSplitEncoder()
        self._lines: list[bytes] = []
        self._size = 0

    def segment(self, raw: bytes) -> None:
        self._add(self._encoder.segment(raw))

    def file(self, name: bytes, size: int, crc64: int) -> None:
        self._add(self._encoder.file(name, size, crc64))

    def finish(self, *, sync: bool) -> None:
        """Write the rest; with `sync` onto the disk."""
        self._flush()
        self._write(self._compressor.flush())
        if sync:
            os.fdatasync(self._file.fileno())
        self.close()

    def close(self) -> None:
        self._file.close()

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        self._write(self._compressor.compress(data))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]


def read(path: str) -> Iterator[Segment | File]:
    """The records of a tar-split file. Raises DataLoss if it is damaged, OSError if it cannot be read."""
    rest = bytearray()
    decompressor = zlib.decompressobj(wbits=31)
    with open(path, "rb", buffering=0) as file:
        while not decompressor.eof:
            try:
                chunk = decompressor.unconsumed_tail or file.read(_READ)
                if not chunk:
                    raise DataLoss(f"cannot read {path}: it ends too early")
                rest += decompressor.decompress(chunk, _READ)
            except zlib.error as error:
                raise DataLoss(f"cannot read {path}: {error}") from None
            *lines, last = rest.split(b"\n")
            if len(last) > MAX_LINE:
                raise DataLoss(f"cannot read {path}: a record is longer than {MAX_LINE} bytes")
            rest = last
            for line in lines:
                if line:
                    yield decode(bytes(line))
    if rest.strip():
        yield decode(bytes(rest))


def _compressor() -> _Compressor:
    try:
        from isal import isal_zlib  # lazy: three times faster, and only where layers are written
    except ImportError:
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    compressor: _Compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    return compressor
