from __future__ import annotations

from pathlib import Path

import pytest

from crio.cli.doctor.finding import Level, Patient
from crio.cli.doctor.storage import check, try_overlay
from crio.config import LoadedConfig, parse


@pytest.mark.root
def test_overlay_is_tried_and_taken_away(tmp_path: Path) -> None:
    assert try_overlay("/dev/shm") == ""
    assert not list(Path("/dev/shm").glob(".crio-doctor-*"))
    assert try_overlay(str(tmp_path / "absent")) == "No such file or directory"


@pytest.mark.root
def test_a_storage_that_is_still_to_be_made(tmp_path: Path) -> None:
    text = f'[crio]\nroot = "/dev/shm/crio-none/storage"\nstorage_driver = "overlay"\nlog_dir = "{tmp_path}"\n'
    config = parse(text + 'clean_shutdown_file = ""\n', "x")
    found = list(check(Patient(LoadedConfig(config, (), {}, (), "", "", {}), "/nowhere")))
    assert "overlay on tmpfs at /dev/shm/crio-none/storage" in [each.text for each in found]
    assert not [each for each in found if each.level is Level.ERROR]
