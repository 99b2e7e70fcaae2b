from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crio.base.errors import DataLoss
from crio.base.recordfile import RecordFile


class Thing(msgspec.Struct):
    id: str
    version: int = 2


THINGS = RecordFile("thing.json", Thing, 2)


def test_round_trip(tmp_path: Path) -> None:
    THINGS.save(str(tmp_path), Thing("a"))
    THINGS.save(str(tmp_path), Thing("b"))
    assert THINGS.load(str(tmp_path)) == Thing("b")
    assert [path.name for path in tmp_path.iterdir()] == ["thing.json"]


def test_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "thing.json").write_bytes(b'{"id":"a","version":1,"went":true}')
    assert THINGS.load(str(tmp_path)) == Thing("a", 1)


def test_none_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        THINGS.load(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id":1}', b"\xff\xfe", b'{"id":"\xff"}', b"[" * 5000])
def test_damage_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "thing.json").write_bytes(content)
    with pytest.raises(DataLoss, match=r"cannot read .*thing\.json"):
        THINGS.load(str(tmp_path))


def test_a_newer_version_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "thing.json").write_bytes(b'{"id":"a","version":3}')
    with pytest.raises(DataLoss, match="version 3, and this release knows up to 2"):
        THINGS.load(str(tmp_path))
