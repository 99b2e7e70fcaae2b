"""Exit records: written by one program without a JSON module, read by another with one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from crio.conmon.exitrecord import ExitRecord
from crio.conmon.packets import decode, encode
from crio.conmon.record import EXIT_FILE, exit_code_of, json_object, replace_file, reserve_file
from crio.linux.mount import mount, umount

_FIELDS: dict[str, int | bool | str] = {
    "version": 1,
    "exit_code": 137,
    "signal": 9,
    "oom_killed": True,
    "oom_kills": 2,
    "finished_at_ns": 1_795_316_654_000_000_001,
    "log_dropped": 5,
    "log_error": 'No "space" \\ left\non ä device\0',
}


def test_file_comes_back(tmp_path: Path) -> None:
    replace_file(str(tmp_path / EXIT_FILE), json_object(_FIELDS))
    record = ExitRecord.read(str(tmp_path))
    assert record == ExitRecord(137, 9, True, 1_795_316_654_000_000_001, 5, 'No "space" \\ left on ä device ')
    assert os.listdir(tmp_path) == [EXIT_FILE]


@pytest.mark.root
def test_what_was_reserved_can_be_written_on_a_full_file_system(tmp_path: Path) -> None:
    mount("tmpfs", str(tmp_path), "tmpfs", data="size=64k")
    try:
        reserve_file(str(tmp_path / EXIT_FILE))
        assert ExitRecord.read(str(tmp_path)) is None
        with contextlib.suppress(OSError), open(tmp_path / "ballast", "wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        replace_file(str(tmp_path / EXIT_FILE), json_object(_FIELDS))
        record = ExitRecord.read(str(tmp_path))
        assert record is not None
        assert record.exit_code == 137
        with pytest.raises(OSError, match="No space"):
            reserve_file(str(tmp_path / "other"))
    finally:
        umount(str(tmp_path))


def test_packet_comes_back() -> None:
    fields = {**_FIELDS, "log_error": "x"}
    assert ExitRecord.from_packet(decode(encode("exited", fields))) == ExitRecord(
        137, 9, True, 1_795_316_654_000_000_001, 5, "x"
    )


def test_record_of_version_1_is_read_for_ever(tmp_path: Path) -> None:
    golden = b'{"version": 1, "exit_code": 3, "signal": 0, "oom_killed": false, "finished_at_ns": 7, "later": [1]}\n'
    (tmp_path / EXIT_FILE).write_bytes(golden)
    assert ExitRecord.read(str(tmp_path)) == ExitRecord(3, finished_at_ns=7)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"exit_code": "x"}', b"null", b"x" * 100_000])
def test_damaged_record_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / EXIT_FILE).write_bytes(content)
    assert ExitRecord.read(str(tmp_path)) is None


def test_absent_record_is_none(tmp_path: Path) -> None:
    assert ExitRecord.read(str(tmp_path)) is None


def test_json_is_json() -> None:
    assert json.loads(json_object({"a": 1, "b": True, "c": False, "d": "\\\"'\t"})) == {
        "a": 1,
        "b": True,
        "c": False,
        "d": "\\\"' ",
    }


def test_codes() -> None:
    assert exit_code_of(5 << 8) == (5, 0)
    assert exit_code_of(int(signal.SIGTERM)) == (143, 15)
    assert exit_code_of(None) == (255, 0)
