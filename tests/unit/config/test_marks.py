from __future__ import annotations

import json
from pathlib import Path

import pytest

from crio.config.marks import LastRun, last_run, note_clean_stop, note_start
from crio.config.tables.root import Crio


@pytest.fixture
def crio(tmp_path: Path) -> Crio:
    return Crio(
        version_file=str(tmp_path / "run" / "version"),
        version_file_persist=str(tmp_path / "lib" / "version"),
        clean_shutdown_file=str(tmp_path / "lib" / "clean.shutdown"),
    )


def reboot(crio: Crio) -> None:
    Path(crio.version_file).unlink()


def test_a_fresh_node_was_rebooted_and_not_stopped_uncleanly(crio: Crio) -> None:
    assert last_run(crio, "1.36.0") == LastRun(rebooted=True, upgraded=True, unclean=False)


def test_a_restart_of_the_daemon_is_neither(crio: Crio) -> None:
    note_start(crio, "1.36.0")
    assert last_run(crio, "1.36.1") == LastRun(rebooted=False, upgraded=False, unclean=False)
    assert json.loads(Path(crio.version_file).read_text()) == "1.36.0"


def test_a_start_that_was_killed_leaves_no_half_of_a_file(crio: Crio) -> None:
    note_start(crio, "1.36.0")
    persist = Path(crio.version_file_persist)
    (persist.parent / ".tmp-version-0123abcd").write_text("")
    note_start(crio, "1.36.0")
    assert sorted(path.name for path in persist.parent.iterdir()) == ["clean.shutdown.supported", "version"]


def test_a_clean_reboot(crio: Crio) -> None:
    note_start(crio, "1.36.0")
    note_clean_stop(crio)
    reboot(crio)
    assert last_run(crio, "1.36.0") == LastRun(rebooted=True, upgraded=False, unclean=False)


def test_a_power_cut(crio: Crio) -> None:
    note_start(crio, "1.36.0")
    note_clean_stop(crio)
    note_start(crio, "1.36.0")
    reboot(crio)
    assert last_run(crio, "1.36.0") == LastRun(rebooted=True, upgraded=False, unclean=True)


def test_another_minor_version_is_an_upgrade(crio: Crio) -> None:
    note_start(crio, "1.35.9")
    assert last_run(crio, "1.36.0").upgraded


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"x" * 10000])
def test_a_damaged_file_counts_as_missing(crio: Crio, content: bytes) -> None:
    note_start(crio, "1.36.0")
    Path(crio.version_file).write_bytes(content)
    assert last_run(crio, "1.36.0").rebooted


def test_empty_paths_are_never_a_reason() -> None:
    crio = Crio(version_file="", version_file_persist="", clean_shutdown_file="")
    note_start(crio, "1.36.0")
    note_clean_stop(crio)
    assert last_run(crio, "1.36.0") == LastRun(rebooted=False, upgraded=False, unclean=False)
