from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.network.attachments import MAX_RECORD, Attachment, AttachmentStore


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    store = AttachmentStore(str(tmp_path / "made"))
    assert store.pod_ids() == []
    assert store.load("a") is None
    record = Attachment("a", network="n", namespace="ns", config="{}", arguments=[("K", "v")], builtin=[True, False])
    store.save(record)
    store.save(Attachment("b"))
    assert AttachmentStore(str(tmp_path / "made")).load("a") == record
    assert store.pod_ids() == ["a", "b"]
    store.remove("a")
    store.remove("a")
    assert store.pod_ids() == ["b"]


@pytest.mark.parametrize("data", [b"", b"{", b'{"pod_id": "other"}', b'{"pod_id": "\xff"}', b" " * (MAX_RECORD + 1)])
def test_a_damaged_record_still_says_which_pod(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    store = AttachmentStore(str(tmp_path))
    assert store.pod_ids() == ["a"]
    assert store.load("a") == Attachment("a")


def test_half_written_files_are_no_records(tmp_path: Path) -> None:
    (tmp_path / ".tmp-a.json-1234").write_text("")
    assert AttachmentStore(str(tmp_path)).pod_ids() == []


@pytest.mark.parametrize("pod_id", ["../a", "a/b", ".a"])
def test_an_id_is_no_path(tmp_path: Path, pod_id: str) -> None:
    with pytest.raises(InvalidArgument):
        AttachmentStore(str(tmp_path)).save(Attachment(pod_id))
