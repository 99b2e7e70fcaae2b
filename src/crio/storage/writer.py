"""A layer on its way in: the bytes of its tar become files, digests and tar-split data in one pass.

Everything goes to staging directories that no lock guards, so any number of layers unpack at the same time;
`commit` then moves the result into place under the store's locks, which takes milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from crio.base.errors import CrioError, DataLoss, Internal, InvalidArgument, ResourceExhausted
from crio.base.failpoints import failpoint
from crio.linux.sync import syncfs
from crio.storage import tarsplit_file
from crio.storage.deletion import delete_tree
from crio.storage.records import LayerRecord
from crio.storage.tarsplit_file import TarSplitWriter
from crio.storage.unpack import Unpacker, clean, largest
from crio.wire.crc64 import load as load_crc64
from crio.wire.tar import TarEntry, TarReader, TarTail
from crio.wire.tarsplit import File

_HASH_ASIDE = 1 << 16
"""Chunks of at least this size are hashed by a second thread, while this one makes files..."""
_HASH_ASIDE_FROM = 2 << 20
"""... once a layer proves so large that it is worth the thread's start."""
_PIECE = 1 << 16


class StagedLayer(msgspec.Struct, frozen=True):
    """A layer that is unpacked and waits for its place."""

    content: str
    tar_split: str
    diff_id: str
    diff_size: int
    uids: list[int]
    gids: list[int]
    inodes: int


class LayerFacts(msgspec.Struct, frozen=True):
    """What the receiver of a layer knows about it; see `LayerWriter.commit`."""

    parent: str | None
    diff_id: str | None
    diff_size: int | None
    compressed_digest: str
    compressed_size: int
    compression: int


Commit = Callable[[StagedLayer, LayerFacts], LayerRecord]


class LayerWriter:
    """Made by `Store.stage_layer`, used by one thread, as a context manager: what was not committed is removed."""

    def __init__(
        self,
        content: str,
        tar_split: str,
        commit: Commit,
        *,
        sync: bool,
        native_whiteouts: bool,
        ignore_chown_errors: bool,
        force_mask: int | None,
    ) -> None:
        self._content = content
        self._aside = f"{content}-aside"
        self._tar_split_path = tar_split
        self._commit = commit
        self._sync = sync
        self._hash = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self._hashing: Future[None] | None = None
        self._size = 0
        self._crc64 = load_crc64()
        self._reader = TarReader()
        self._pending: TarEntry | None = None
        self._pending_crc = 0
        self._embed = False
        self._staged: StagedLayer | None = None
        with contextlib.ExitStack() as undo:
            self._root_fd = _make_directory(content, undo)
            self._aside_fd = _make_directory(self._aside, undo)
            self._unpacker = Unpacker(
                self._root_fd,
                self._aside_fd,
                native_whiteouts=native_whiteouts,
                ignore_chown_errors=ignore_chown_errors,
                force_mask=force_mask,
            )
            self._split = TarSplitWriter(tar_split)
            undo.pop_all()

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of tar that were taken so far."""
        return self._size

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the uncompressed tar, of any length; 64 KiB to 1 MiB is best.

        Raises InvalidArgument for what is not a layer or would leave it, ResourceExhausted when the disk is full.
        """
        self._size += len(chunk)
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
        if len(chunk) >= _HASH_ASIDE and self._size >= _HASH_ASIDE_FROM:
            if self._hasher is None:
                self._hasher = ThreadPoolExecutor(1, thread_name_prefix="layer hash")
            self._hashing = self._hasher.submit(self._hash.update, chunk)
        else:
            self._hash.update(chunk)
        try:
            for event in self._reader.feed(chunk):
                if type(event) is bytes:
                    self._data(event)
                elif type(event) is TarEntry:
                    self._member(event)
                elif type(event) is TarTail:
                    self._tail(event)
        except OSError as error:
            raise _explain(error) from error

    def finish(self) -> StagedLayer:
        """Say that the tar is complete. Idempotent; `commit` calls it. Brings the content onto the disk."""
        if self._staged is not None:
            return self._staged
        try:
            for event in self._reader.finish():
                assert type(event) is TarTail
                self._tail(event)
            self._end_member()
            self._unpacker.finish()
            self._split.finish(sync=self._sync)
            if self._unpacker.displaced:
                self._embed_displaced()
            if self._sync:
                syncfs(self._root_fd)
        except OSError as error:
            raise _explain(error) from error
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
        failpoint("storage.writer.finished")
        self._staged = StagedLayer(
            self._content,
            self._tar_split_path,
            f"sha256:{self._hash.hexdigest()}",
            self._size,
            largest(self._unpacker.uids),
            largest(self._unpacker.gids),
            self._unpacker.inodes,
        )
        return self._staged

    def commit(
        self,
        parent: str | None,
        diff_id: str | None = None,
        diff_size: int | None = None,
        compressed_digest: str = "",
        compressed_size: int = 0,
        compression: int = 0,
    ) -> LayerRecord:
        """Put the layer on top of `parent`, or at the bottom. The layer may be there already: then that one is it.

        `diff_id` and `diff_size`, if given, must be what the tar really had, else DataLoss. `compressed_*` describe
        the blob as received (`compression` as in records.py). Raises LayerGone if the parent is.
        """
        staged = self.finish()
        if diff_id is not None and diff_id != staged.diff_id:
            raise DataLoss(f"cannot add layer: its content has the diff id {staged.diff_id}, expected was {diff_id}")
        if diff_size is not None and diff_size != staged.diff_size:
            raise DataLoss(f"cannot add layer: its tar has {staged.diff_size} bytes, expected were {diff_size}")
        facts = LayerFacts(parent, diff_id, diff_size, compressed_digest, compressed_size, compression)
        try:
            return self._commit(staged, facts)
        except OSError as error:
            raise (_out_of_space(error, "add") or Internal(f"cannot add layer: {error}")) from error

    def close(self) -> None:
        """Remove what was not committed. Idempotent."""
        if self._root_fd < 0:
            return
        self._unpacker.close()
        self._split.close()
        if self._hasher is not None:
            self._hasher.shutdown(wait=False)
        os.close(self._root_fd)
        os.close(self._aside_fd)
        self._root_fd = self._aside_fd = -1
        for path in (self._aside, self._content):
            delete_tree(path)
        try:
            os.unlink(self._tar_split_path)
        except FileNotFoundError:
            pass

    def _member(self, entry: TarEntry) -> None:
        self._end_member()
        self._split.segment(entry.header)
        readable = self._unpacker.member(entry)
        # What cannot be read back under its name as it stands in the tar is kept in the tar-split data itself.
        self._embed = entry.sparse is not None or not readable
        self._pending, self._pending_crc = entry, 0

    def _data(self, piece: bytes) -> None:
        self._unpacker.data(piece)
        if self._embed:
            for start in range(0, len(piece), _PIECE):
                self._split.segment(piece[start : start + _PIECE])
        else:
            self._pending_crc = self._crc64(piece, self._pending_crc)

    def _tail(self, tail: TarTail) -> None:
        self._end_member()
        for start in range(0, len(tail.raw), _PIECE):
            self._split.segment(tail.raw[start : start + _PIECE])

    def _end_member(self) -> None:
        entry, self._pending = self._pending, None
        if entry is None or self._embed:
            return
        self._split.file(entry.name, entry.size, self._pending_crc)

    def _embed_displaced(self) -> None:
        """A later member has replaced an earlier one: what the earlier brought goes into the tar-split data.

        The records are written again; rare, and then only as much work as the displaced files are large.
        """
        contents: dict[bytes, list[str]] = {}
        for name, saved in self._unpacker.displaced:
            for path, file in _files(os.path.join(self._aside, saved), name):
                contents.setdefault(path, []).append(file)
        rewritten = TarSplitWriter(f"{self._tar_split_path}-rewritten")
        seen: set[bytes] = set()
        try:
            for record in tarsplit_file.read(self._tar_split_path):
                if not isinstance(record, File):
                    rewritten.segment(record.raw)
                    continue
                name = clean(record.name)
                waiting = contents.get(name)
                if record.size and waiting and self._matches(waiting[0], record):
                    for piece in _pieces(waiting.pop(0)):
                        rewritten.segment(piece)
                elif record.size or name not in seen:
                    # Readers refuse a name that comes twice; one without data need not come at all.
                    rewritten.file(record.name, record.size, record.crc64)
                    seen.add(name)
            rewritten.finish(sync=self._sync)
            os.rename(f"{self._tar_split_path}-rewritten", self._tar_split_path)
        finally:
            rewritten.close()

    def _matches(self, path: str, record: File) -> bool:
        crc = size = 0
        for piece in _pieces(path):
            crc = self._crc64(piece, crc)
            size += len(piece)
        return (size, crc) == (record.size, record.crc64)


def _make_directory(path: str, undo: contextlib.ExitStack) -> int:
    """A descriptor of a new directory; `undo` takes both away."""
    os.mkdir(path, 0o700)
    undo.callback(delete_tree, path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    undo.callback(os.close, fd)
    return fd


def _files(path: str, name: bytes) -> Iterator[tuple[bytes, str]]:
    """(path in the layer, real path) of the regular files in something displaced."""
    if stat.S_ISREG(os.lstat(path).st_mode):
        yield name, path
    for directory, _, files in os.walk(path):
        for file in files:
            real = os.path.join(directory, file)
            if stat.S_ISREG(os.lstat(real).st_mode):
                yield name + b"/" + os.fsencode(os.path.relpath(real, path)), real


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def _explain(error: OSError) -> CrioError:
    """One sentence for what the file system refused."""
    reason = error.strerror or str(error)
    name = f" {os.fsdecode(error.filename)[:200]!r}" if isinstance(error.filename, (str, bytes)) else ""
    full = _out_of_space(error, "unpack")
    if full is not None:
        return full
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EISDIR, errno.ENAMETOOLONG):
        return InvalidArgument(f"cannot unpack layer: its tar names{name or ' a file'}: {reason}")
    return Internal(f"cannot unpack layer: {reason}{name}")


def _out_of_space(error: OSError, what: str) -> CrioError | None:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return ResourceExhausted(f"cannot {what} layer: {error.strerror}; free space on the store's file system")
