from __future__ import annotations

import json
from pathlib import Path

import pytest

from crio.storage.mounts import MountTable
from crio.storage.records import MountRecord


def test_counts_are_shared_between_processes(tmp_path: Path) -> None:
    one, two = MountTable(str(tmp_path), timeout=60), MountTable(str(tmp_path), timeout=60)
    with one.writing() as mounts:
        mounts["a"] = MountRecord("a", "/x", 1)
    assert two.read() == {"a": MountRecord("a", "/x", 1)}
    assert json.loads((tmp_path / "mountpoints.json").read_bytes()) == [{"id": "a", "path": "/x", "count": 1}]
    with two.writing() as mounts:
        del mounts["a"]
    assert one.read() == {}
    assert (tmp_path / "mountpoints.json").read_bytes() == b"[]"
    one.close()
    two.close()


def test_what_happened_before_an_error_is_saved(tmp_path: Path) -> None:
    table = MountTable(str(tmp_path), timeout=60)
    with pytest.raises(RuntimeError), table.writing() as mounts:  # noqa: PT012
        mounts["a"] = MountRecord("a", "/x", 1)
        raise RuntimeError
    assert set(table.read()) == {"a"}
    table.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'[{"id":"\xff"}]', b'[{"id":"a","path":"","count":1},{"id":"b","path":"/b","count":0}]']
)
def test_useless_files_count_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mountpoints.json").write_bytes(content)
    table = MountTable(str(tmp_path), timeout=60)
    with table.writing() as mounts:
        assert mounts == {}
    table.close()
