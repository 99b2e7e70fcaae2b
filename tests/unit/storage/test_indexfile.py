from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from crio.base.errors import DataLoss
from crio.linux.mount import mount, umount
from crio.storage.indexfile import SAVED, SPARE, IndexFile, Syncer


def names(raws: list[msgspec.Raw]) -> list[str]:
    return [bytes(raw).decode() for raw in raws]


def test_absent_and_empty_files_have_no_records(tmp_path: Path) -> None:
    file = IndexFile(str(tmp_path / "x.json"), syncer=Syncer())
    assert file.load() == []
    (tmp_path / "x.json").write_bytes(b"")
    assert file.load() == []


def test_a_write_replaces_the_file(tmp_path: Path) -> None:
    file = IndexFile(str(tmp_path / "x.json"), syncer=None)
    before = file.stamp()
    file.write(b"[1]", lasting=True)
    assert names(file.load()) == ["1"]
    assert file.stamp() != before
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["x.json", f"x.json{SPARE}"]


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


@pytest.mark.root
def test_a_full_file_system_has_room_for_what_is_removed(tmp_path: Path) -> None:
    mount("tmpfs", str(tmp_path), "tmpfs", data="size=2m")
    try:
        file = IndexFile(str(tmp_path / "x.json"), syncer=None)
        records = [b'"%0900d"' % number for number in range(40)]
        file.write(b"[%s]" % b",".join(records), lasting=True)
        fill(tmp_path / "ballast")
        while records:
            records.pop()
            file.write(b"[%s]" % b",".join(records), lasting=True)
            assert len(file.load()) == len(records)
            # Nobody leaves anything free.
            fill(tmp_path / "ballast")
        with pytest.raises(OSError, match="No space"):
            file.write(b"[%s]" % (b"1," * 200_000 + b"1"), lasting=True)
        assert file.load() == []
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]
    finally:
        umount(str(tmp_path))


@pytest.mark.parametrize("damage", [b"", b'[{"id":"', b"\0" * 30, b'[{"id":"\xff"}]'])
def test_what_a_power_cut_damaged_comes_back_from_the_last_synced_state(tmp_path: Path, damage: bytes) -> None:
    syncer = Syncer()
    file = IndexFile(str(tmp_path / "x.json"), syncer=syncer)
    file.write(b"[1]", lasting=True)
    file.write(b"[1,2]", lasting=False)
    file.write(b"[1,2,3]", lasting=False)
    syncer.close()
    assert (tmp_path / f"x.json{SAVED}").read_bytes() == b"[1]"
    (tmp_path / "x.json").write_bytes(damage)
    again = IndexFile(str(tmp_path / "x.json"), syncer=syncer)
    assert names(again.load()) == ["1"]
    assert again.recovered
    again.write(b"[1]", lasting=True)
    assert not again.recovered
    assert names(file.load()) == ["1"]


def test_what_others_wrote_is_the_new_safe_state(tmp_path: Path) -> None:
    syncer = Syncer()
    file = IndexFile(str(tmp_path / "x.json"), syncer=syncer)
    file.write(b"[1]", lasting=True)
    file.write(b"[1,2]", lasting=False)
    (tmp_path / "new").write_bytes(b"[7]")
    (tmp_path / "new").rename(tmp_path / "x.json")
    file.write(b"[7,8]", lasting=False)
    assert (tmp_path / f"x.json{SAVED}").read_bytes() == b"[7]"
    syncer.close()


def test_damage_without_a_second_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"[{")
    with pytest.raises(DataLoss, match=r"x\.json"):
        IndexFile(str(tmp_path / "x.json"), syncer=Syncer()).load()
    assert IndexFile(str(tmp_path / "x.json"), syncer=None).load() == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = IndexFile(str(tmp_path / "x.json"), syncer=None)
    file.write(b"[1]", lasting=True)
    code = (
        "import sys; from crio.storage.indexfile import IndexFile\n"
        "try: IndexFile(sys.argv[1], syncer=None).write(b'[2]', lasting=True)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    for action, output in (("error", b"Internal\n"), ("kill", b"")):
        result = subprocess.run(
            [sys.executable, "-c", code, file.path],
            env={**os.environ, "CRIO_FAILPOINTS": f"storage.index.before_rename={action}"},
            stdout=subprocess.PIPE,
            check=False,
        )
        assert result.stdout == output
        assert result.returncode == (-signal.SIGKILL if action == "kill" else 0)
        assert names(file.load()) == ["1"]
        assert len(os.listdir(tmp_path)) == (3 if action == "kill" else 2)


def test_a_file_that_cannot_be_synced_keeps_no_other_from_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    syncer = Syncer()
    for name in ("absent", "file/one", "file/two"):
        syncer.later(str(tmp_path / name))
    syncer.close()
    told = [record.getMessage() for record in caplog.records]
    assert ["file/one" in told[0], "file/two" in told[1], len(told)] == [True, True, 2]
