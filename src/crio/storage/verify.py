"""Whether a layer's files are still those that its tar brought.

Contents are judged by the tar's digest: it is put together again from the files. What has no content (directories,
links, devices, empty files) and what is not content (owners, modes) stands in the tar's headers, which are kept apart
from the files, and is compared one by one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

import msgspec

from crio.base.errors import DataLoss, InvalidArgument
from crio.linux.openat2 import open_in_root
from crio.storage.driver.merge import is_opaque, is_whiteout
from crio.storage.unpack import OPAQUE, WHITEOUT, clean
from crio.wire.tar import Kind, TarEntry, TarReader

_MAX_LINKS = 40
_MOST = 5
"""Files that are named of one layer."""
_FORMS = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}


class Rules(msgspec.Struct, frozen=True):
    """What may be compared."""

    metadata: bool = True
    """The directory holds this layer's files and no others."""
    owners: bool = True
    modes: bool = True
    native_whiteouts: bool = True


class _Expected(msgspec.Struct, frozen=True):
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    link: bytes


def problems(tar: Iterable[bytes], digest: str, size: int, directories: list[str], rules: Rules) -> Iterator[str]:
    """What is wrong with a layer, in a few sentences. `tar` is what `export.layer_tar` gives; `size` -1 if unknown."""
    hashed, seen = hashlib.sha256(), 0
    reader = TarReader()
    entries: list[TarEntry] = []
    try:
        for piece in tar:
            hashed.update(piece)
            seen += len(piece)
            if not rules.metadata:
                continue
            for event in reader.feed(piece):
                if isinstance(event, TarEntry):
                    # Of no use any more, and as large as all else together.
                    event.header = b""
                    entries.append(event)
    except (DataLoss, OSError, InvalidArgument) as error:
        yield str(error)
        return
    if f"sha256:{hashed.hexdigest()}" != digest:
        yield f"its content has not the digest {digest}"
    elif 0 <= size != seen:
        yield f"its content has {seen} bytes, and {size} were recorded"
    elif rules.metadata:
        found = list(_Files(directories, rules).differences(entries))
        yield from found[:_MOST]
        if len(found) > _MOST:
            yield f"and {len(found) - _MOST} more of its files are not as they came"


class _Tree:
    """What stands under each name after the last member: they may come twice, and through links."""

    def __init__(self, *, native_whiteouts: bool) -> None:
        self.files: dict[bytes, _Expected] = {}
        self.hidden: set[bytes] = set()
        """Names that must hide those of lower layers; directories that hide all below them end with a slash."""
        self._native_whiteouts = native_whiteouts
        self._parents: set[bytes] = set()

    def add(self, entry: TarEntry) -> None:
        cleaned = clean(entry.name)
        if not cleaned:
            return
        parent, _, base = cleaned.rpartition(b"/")
        parent = self._resolve(parent)
        if base.startswith(WHITEOUT) and self._native_whiteouts:
            if self._is_directory(parent):
                self._hide(parent, base)
                self._note_parents(parent)
            return
        name = _join(parent, base)
        if name in self._parents and entry.kind is not Kind.DIRECTORY:
            self._parents.discard(name)
            self.files = {other: value for other, value in self.files.items() if not other.startswith(name + b"/")}
            self.hidden = {other for other in self.hidden if not other.startswith(name + b"/")}
        size = entry.real_size if entry.sparse is not None else entry.size
        expected = _Expected(entry.kind, entry.mode, entry.uid, entry.gid, size, entry.linkname)
        if entry.kind is Kind.HARD_LINK:
            target_parent, _, target = clean(entry.linkname).rpartition(b"/")
            expected = self.files.get(_join(self._resolve(target_parent), target), expected)
        self.files[name] = expected
        self._note_parents(parent)

    def _note_parents(self, parent: bytes) -> None:
        while parent and parent not in self._parents:
            self._parents.add(parent)
            parent = parent.rpartition(b"/")[0]

    def _hide(self, parent: bytes, base: bytes) -> None:
        hidden = base[len(WHITEOUT) :]
        if base == OPAQUE:
            self.hidden.add(parent + b"/")
        elif not hidden.startswith(WHITEOUT) and hidden not in (b"", b".", b".."):
            self.hidden.add(_join(parent, hidden))

    def _is_directory(self, name: bytes) -> bool:
        """Whether a mark of deletion can be put there: not into what is a file, or is deleted itself."""
        while name:
            there = self.files.get(name)
            if there is not None and there.kind is not Kind.DIRECTORY:
                return False
            if there is None and name in self.hidden and name not in self._parents:
                return False
            name = name.rpartition(b"/")[0]
        return True

    def _resolve(self, directory: bytes) -> bytes:
        """Where a directory's name leads at this moment, as the kernel does it for who is root in the layer."""
        found: list[bytes] = []
        waiting = directory.split(b"/")[::-1]
        links = 0
        while waiting:
            part = waiting.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                del found[-1:]
                continue
            here = self.files.get(b"/".join([*found, part]))
            if here is not None and here.kind is Kind.SYMLINK and links < _MAX_LINKS:
                links += 1
                if here.link.startswith(b"/"):
                    found = []
                waiting += here.link.split(b"/")[::-1]
            else:
                found.append(part)
        return b"/".join(found)


class _Files:
    def __init__(self, directories: list[str], rules: Rules) -> None:
        self._directories = directories
        self._rules = rules

    def differences(self, entries: list[TarEntry]) -> Iterator[str]:
        roots = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in self._directories]
        try:
            tree = _Tree(native_whiteouts=self._rules.native_whiteouts)
            for entry in entries:
                tree.add(entry)
            for name, expected in tree.files.items():
                problem = self._difference(roots, name, expected)
                if problem:
                    yield f"{name[:200].decode('utf-8', 'replace')!r} {problem}"
            for name in tree.hidden:
                if name not in tree.files and not self._hides(roots[0], name):
                    yield f"{name[:200].decode('utf-8', 'replace')!r} no longer hides what lies below"
        finally:
            for root in roots:
                os.close(root)

    def _difference(self, roots: list[int], name: bytes, expected: _Expected) -> str:
        status = _status(roots, name)
        if status is None:
            return "is missing"
        if expected.kind is Kind.HARD_LINK:
            # What it is a link of may have been replaced by a later member.
            return ""
        if stat.S_IFMT(status.st_mode) != _FORMS[expected.kind]:
            return f"is not a {expected.kind.value}"
        if expected.kind is Kind.FILE and status.st_size != expected.size:
            return f"has {status.st_size} bytes in place of {expected.size}"
        if status.st_nlink > 1 and expected.kind is not Kind.DIRECTORY:
            # Some engines give a file the owner and mode of the last link to it.
            return ""
        if self._rules.owners and (status.st_uid, status.st_gid) != (expected.uid, expected.gid):
            return f"belongs to {status.st_uid}:{status.st_gid} in place of {expected.uid}:{expected.gid}"
        links = expected.kind is Kind.SYMLINK
        if self._rules.modes and not links and stat.S_IMODE(status.st_mode) != expected.mode:
            return f"has the mode {stat.S_IMODE(status.st_mode):04o} in place of {expected.mode:04o}"
        return ""

    def _hides(self, root: int, name: bytes) -> bool:
        directory = name.rstrip(b"/") or b"."
        try:
            fd = open_in_root(root, directory, os.O_PATH | os.O_NOFOLLOW)
        except NotADirectoryError:
            # A parent hides it, or is a file here.
            return True
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            if not name.endswith(b"/"):
                # In its place, a directory of this layer hides as well.
                return is_whiteout(status) or stat.S_ISDIR(status.st_mode)
            return not stat.S_ISDIR(status.st_mode) or is_opaque(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)


def _status(roots: list[int], name: bytes) -> os.stat_result | None:
    for root in roots:
        try:
            fd = open_in_root(root, name, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
    return None


def _join(parent: bytes, base: bytes) -> bytes:
    return parent + b"/" + base if parent else base
