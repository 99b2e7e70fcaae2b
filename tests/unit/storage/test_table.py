from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.storage.indexfile import IndexFile
from crio.storage.locks import LockFile
from crio.storage.records import LayerRecord, replaced
from crio.storage.table import RecordTable

Table = RecordTable[LayerRecord]
NAMES = ("layers.json", "volatile-layers.json")


def open_table(directory: Path, timeout: float = 60) -> Table:
    lock = LockFile(str(directory / "layers.lock"), timeout=timeout)
    return RecordTable(LayerRecord, [lock], [IndexFile(str(directory / name), syncer=None) for name in NAMES])


def record(id: str, *names: str) -> LayerRecord:
    return LayerRecord(id=id, created="2020-01-01T00:00:00Z", names=list(names))


def test_two_processes_see_each_others_changes(tmp_path: Path) -> None:
    one, two = open_table(tmp_path), open_table(tmp_path)
    with one.writing() as edit:
        edit.put(record("a", "x"))
        edit.save()
    assert two.snapshot().find("x") == record("a", "x")
    with two.writing() as edit:
        edit.put(record("b"))
        edit.save()
    assert set(one.snapshot().by_id) == {"a", "b"}
    one.close()
    two.close()


def test_an_unchanged_table_is_not_loaded_again(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    with table.writing() as edit:
        edit.put(record("a"))
        edit.save()
    assert table.snapshot() is table.snapshot()
    table.close()


def test_changes_that_were_not_saved_are_forgotten(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    with pytest.raises(RuntimeError), table.writing() as edit:  # noqa: PT012
        edit.put(record("a"))
        raise RuntimeError
    assert table.snapshot().by_id == {}
    table.close()


def test_records_stay_in_their_file_and_the_first_of_one_id_counts(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    with table.writing() as edit:
        edit.put(record("a"), file=1)
        edit.put(record("b"))
        edit.save()
    with table.writing() as edit:
        edit.put(replaced(edit.now.by_id["a"], names=["n"]), file=0)
        edit.save()
    rows = [json.loads((tmp_path / name).read_bytes()) for name in NAMES]
    assert [[row["id"] for row in file] for file in rows] == [["b"], ["a"]]
    (tmp_path / NAMES[1]).write_bytes(b'[{"id":"b","created":"x","names":["second"]},{"id":"c","created":"x"}]')
    other = open_table(tmp_path)
    assert set(other.snapshot().by_id) == {"b", "c"}
    assert other.snapshot().by_id["b"].names == []
    table.close()
    other.close()


def test_unchanged_records_are_written_back_as_they_were(tmp_path: Path) -> None:
    odd = b'{"created":"2020-01-01T00:00:00Z",  "id":"odd","future":{"z":1,"a":[2]}}'
    (tmp_path / NAMES[0]).write_bytes(b"[" + odd + b"]")
    table = open_table(tmp_path)
    with table.writing() as edit:
        edit.put(record("new"))
        edit.save()
    assert odd in (tmp_path / NAMES[0]).read_bytes()
    table.close()


def test_lookups(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    with table.writing() as edit:
        edit.put(record("abc1", "first", "both"))
        edit.put(record("abd2", "both"))
        edit.save()
    snapshot = table.snapshot()
    assert snapshot.lookup("layer", "first").id == "abc1"
    assert snapshot.lookup("layer", "both").id == "abd2"
    assert snapshot.lookup("layer", "abc").id == "abc1"
    with pytest.raises(InvalidArgument):
        snapshot.lookup("layer", "ab")
    with pytest.raises(NotFound):
        snapshot.lookup("layer", "zz")
    with pytest.raises(NotFound), table.writing() as edit:
        edit.drop("zz")
    table.close()


@pytest.mark.parametrize("who", ["another process", "another thread"])
def test_who_writes_for_long_keeps_nobody_from_reading(tmp_path: Path, who: str) -> None:
    """Older podman unpacks a layer under the lock, which takes minutes; the daemon's event loop reads."""
    table, other = open_table(tmp_path, timeout=0.05), open_table(tmp_path)
    with table.writing() as edit:
        edit.put(record("a"))
        edit.save()
    before = table.snapshot()
    found: list[set[str]] = []
    with other.writing() as edit:
        edit.put(record("b"))
        edit.save()
        if who == "another process":
            found.append(set(table.snapshot().by_id))
        else:
            reader = threading.Thread(target=lambda: found.append(set(other.snapshot().by_id)))
            (tmp_path / NAMES[1]).write_bytes(b'[{"id":"c","created":"x"}]')
            reader.start()
            reader.join()
    assert found == [{"a", "b"} if who == "another process" else {"a", "b", "c"}]
    # What was read so is not what a writer goes on from.
    with table.writing() as edit:
        assert edit.now.by_id.keys() >= {"a", "b"}
    assert before.by_id.keys() == {"a"}
    table.close()
    other.close()


def test_the_token_is_written_before_the_file(tmp_path: Path) -> None:
    table = open_table(tmp_path)
    lock = LockFile(str(tmp_path / "layers.lock"))
    before = lock.token()
    with table.writing() as edit:
        edit.put(record("a"))
        assert lock.token() == before
        edit.save()
        assert lock.token() != before
        after = lock.token()
        edit.save()
        assert lock.token() == after
    table.close()
    lock.close()


def test_a_change_of_the_file_alone_is_noticed(tmp_path: Path) -> None:
    """Tools of old may write the token after the file, or die between the two."""
    table = open_table(tmp_path)
    assert table.snapshot().by_id == {}
    (tmp_path / NAMES[0]).write_bytes(b'[{"id":"b","created":"x"}]')
    assert set(table.snapshot().by_id) == {"b"}
    table.close()
