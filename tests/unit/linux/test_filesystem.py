from __future__ import annotations

from pathlib import Path

import pytest

from crio.linux.filesystem import magic, refuses_overlay
from crio.linux.mount import umount
from crio.linux.overlay import OverlayMount, mount_overlay


def test_the_nearest_that_exists_counts() -> None:
    assert magic("/proc/self/none/of/this") == magic("/proc") == 0x9FA0
    assert refuses_overlay("/dev/shm/none") == ""


@pytest.mark.root
def test_overlay_on_overlay(tmp_path: Path) -> None:
    for name in ("lower", "merged"):
        (tmp_path / name).mkdir()
    merged = str(tmp_path / "merged")
    mount_overlay(OverlayMount(merged, [str(tmp_path / "lower"), merged]), home=str(tmp_path))
    try:
        assert refuses_overlay(merged) == "overlayfs"
    finally:
        umount(merged)
