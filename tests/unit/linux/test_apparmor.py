from __future__ import annotations

from pathlib import Path

import pytest

from crio.linux import apparmor


def test_state(tmp_path: Path) -> None:
    path = tmp_path / "enabled"
    assert not apparmor.is_enabled(str(path))
    path.write_text("N\n")
    assert not apparmor.is_enabled(str(path))
    path.write_text("Y\n")
    assert apparmor.is_enabled(str(path))


def test_profiles_are_found_by_their_whole_name(tmp_path: Path) -> None:
    path = tmp_path / "profiles"
    path.write_text("crio-default (enforce)\n/usr/bin/man (x) (complain)\n")
    assert apparmor.is_loaded("crio-default", str(path))
    assert apparmor.is_loaded("/usr/bin/man (x)", str(path))
    assert not apparmor.is_loaded("crio", str(path))
    with pytest.raises(OSError, match="none"):
        apparmor.is_loaded("crio", str(tmp_path / "none"))
