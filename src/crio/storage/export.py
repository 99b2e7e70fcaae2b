"""A layer's tar, put together again from its files and its tar-split data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from crio.base.errors import DataLoss
from crio.linux.openat2 import open_in_root
from crio.storage import tarsplit_file
from crio.storage.unpack import clean
from crio.wire.crc64 import load as load_crc64
from crio.wire.tarsplit import Segment

_PIECE = 1 << 18


def layer_tar(tar_split: str, directories: Sequence[str]) -> Iterator[bytes]:
    """The bytes of the layer's tar. `directories` hold its files; the first that has one counts.

    Raises DataLoss if a file is missing or has other content than when it came, or if there are no tar-split data.
    """
    if not os.path.exists(tar_split):
        raise DataLoss(f"cannot export layer: {tar_split} is missing; pull the image again")
    crc64 = load_crc64()
    with contextlib.ExitStack() as opened:
        roots: list[int] = []
        for path in directories:
            roots.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            opened.callback(os.close, roots[-1])
        for record in tarsplit_file.read(tar_split):
            if isinstance(record, Segment):
                yield record.raw
                continue
            if not record.size:
                continue
            crc, left = 0, record.size
            fd = _open(roots, record.name)
            try:
                while left and (piece := os.read(fd, min(_PIECE, left))):
                    crc = crc64(piece, crc)
                    left -= len(piece)
                    yield piece
            finally:
                os.close(fd)
            if left or crc != record.crc64:
                raise DataLoss(f"cannot export layer: the content of {record.name[:200]!r} has changed")


def _open(roots: Sequence[int], name: bytes) -> int:
    path = clean(name)
    for root in roots:
        try:
            return open_in_root(root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
    raise DataLoss(f"cannot export layer: the file {name[:200]!r} is missing")
