from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crio.base.errors import CrioError
from crio.linux.overlay import OPAQUE
from crio.storage.deletion import delete_tree
from crio.storage.store import Store
from crio.storage.unpack import Unpacker
from crio.storage.verify import Rules, problems
from crio.wire.tar import TarEntry, TarReader

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]


def _member(name: str, mode: int = 0o644, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = mode
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def layer(store: Store, tar: TarMaker) -> tuple[Path, Callable[[], list[str]]]:
    """A layer with one of everything, and what is wrong with it."""
    data = tar(
        ("d", None),
        ("d/content", b"x" * 1000),
        _member("empty", uid=5, gid=6),
        _member("link", type=tarfile.SYMTYPE, linkname="d"),
        _member("hard", type=tarfile.LNKTYPE, linkname="d/content"),
        _member("link/through", 0o4711),
        _member("pipe", type=tarfile.FIFOTYPE),
        ("d/.wh.gone", b""),
        ("o/.wh..wh..opq", b""),
        ("twice", None),
        ("twice/x", b"1"),
        ("twice", b"2"),
    )
    with store.stage_layer() as writer:
        writer.write(data)
        record = writer.commit(None)
    directories = store.driver.own_directories(record.id)

    def look() -> list[str]:
        return list(problems(store.layer_tar(record.id), record.diff_digest, record.diff_size, directories, Rules()))

    assert look() == []
    return Path(directories[0]), look


HARM: dict[str, Callable[[Path], object]] = {
    "'empty' is missing": lambda root: (root / "empty").unlink(),
    "'pipe' is missing": lambda root: (root / "pipe").unlink(),
    "'link' is not a symbolic link": lambda root: os.replace(root / "pipe", root / "link"),
    "'hard' is missing": lambda root: (root / "hard").unlink(),
    "'empty' has 3 bytes in place of 0": lambda root: (root / "empty").write_text("xxx"),
    "'empty' belongs to 0:0 in place of 5:6": lambda root: os.chown(root / "empty", 0, 0),
    "'d/through' has the mode 0711 in place of 4711": lambda root: (root / "d/through").chmod(0o711),
    "'d' has the mode 0700 in place of 0755": lambda root: (root / "d").chmod(0o700),
    "'d/gone' no longer hides what lies below": lambda root: (root / "d/gone").unlink(),
    "'o/' no longer hides what lies below": lambda root: os.removexattr(root / "o", OPAQUE),
    "the content of b'd/content' has changed": lambda root: (root / "d/content").write_text("y" * 1000),
    "the file b'd/content' is missing": lambda root: (root / "d/content").unlink(),
}


@pytest.mark.parametrize("problem", HARM)
def test_what_a_crash_can_do(layer: tuple[Path, Callable[[], list[str]]], problem: str) -> None:
    root, look = layer
    HARM[problem](root)
    assert any(problem in found for found in look()), look()


def test_many_are_counted(layer: tuple[Path, Callable[[], list[str]]]) -> None:
    root, look = layer
    for name in ("empty", "pipe", "hard", "d/through", "d/gone", "link"):
        (root / name).unlink()
    found = look()
    assert len(found) == 6
    assert found[-1].startswith("and ")


def test_digest_and_size(layer: tuple[Path, Callable[[], list[str]]]) -> None:
    data = b"\0" * 1024
    good = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert list(problems([data], good, -1, [str(layer[0])], Rules())) == []
    assert "and 5 were recorded" in str(list(problems([data], good, 5, [str(layer[0])], Rules())))
    assert "has not the digest" in str(list(problems([data], "sha256:x", -1, [str(layer[0])], Rules())))


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/a", "a/../b", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "l", "l/x", "l/a", "./b"]
)
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
MEMBERS = st.lists(
    st.tuples(NAMES, st.sampled_from(KINDS), st.sampled_from(["a", "b", "/", "a/b"]), st.sampled_from([0o644, 0o4755])),
    max_size=12,
)


@settings(max_examples=100)
@given(MEMBERS)
def test_what_was_just_unpacked_is_whole(
    place: Path, tar: TarMaker, members: list[tuple[str, bytes, str, int]]
) -> None:
    """However odd the tar: a good layer that is called damaged would be deleted."""
    data = tar(*(_member(name, mode, type=kind, linkname=link) for name, kind, link, mode in members))
    roots = [place / "layer", place / "aside"]
    for root in roots:
        delete_tree(str(root))
        root.mkdir()
    fds = [os.open(root, os.O_RDONLY) for root in roots]
    unpacker = Unpacker(*fds)
    try:
        reader = TarReader()
        for event in (*reader.feed(data), *reader.finish()):
            if isinstance(event, TarEntry):
                unpacker.member(event)
        unpacker.finish()
    except (CrioError, OSError):
        return
    finally:
        unpacker.close()
        for fd in fds:
            os.close(fd)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert list(problems([data], digest, len(data), [str(roots[0])], Rules())) == []
    assert stat.S_ISDIR(roots[0].stat().st_mode)
