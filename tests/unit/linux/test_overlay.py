from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux import overlay
from crio.linux.mount import MS_NODEV, MS_RDONLY, mount, mounts_below, unmount_below
from crio.linux.overlay import OverlayMount, mount_overlay

pytestmark = pytest.mark.root


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs: a place where overlay's upper directories may be."""
    path = tmp_path / "home"
    path.mkdir()
    mount("tmpfs", str(path), "tmpfs", 0, "size=16m")
    for name in ("upper", "work", "merged"):
        (path / name).mkdir()
    yield path
    unmount_below(str(path))


def layers(home: Path, count: int, name: str = "layer-with-a-long-name") -> list[str]:
    paths = []
    for number in range(count):
        path = home / f"{name}-{number:03d}"
        path.mkdir()
        (path / f"f{number}").write_text("")
        (path / "top").write_text(str(number))
        paths.append(str(path))
    return paths


def plan(home: Path, lowers: list[str], **fields: object) -> OverlayMount:
    values = {"upper": str(home / "upper"), "work": str(home / "work"), **fields}
    return OverlayMount(str(home / "merged"), lowers, **values)  # type: ignore[arg-type]


def test_the_first_layer_is_the_nearest(home: Path) -> None:
    mount_overlay(plan(home, layers(home, 3), options=["volatile"], flags=MS_NODEV), home=str(home))
    merged = home / "merged"
    assert (merged / "top").read_text() == "0"
    (merged / "top").write_text("new")
    assert (home / "upper/top").read_text() == "new"
    (info,) = mounts_below(str(merged))
    assert (info.fstype, info.source) == ("overlay", "overlay")
    assert "nodev" in info.options
    assert "volatile" in info.super_options


def test_read_only(home: Path) -> None:
    mount_overlay(OverlayMount(str(home / "merged"), layers(home, 2)), home=str(home))
    with pytest.raises(OSError, match="Read-only"):
        (home / "merged/x").write_text("")


def test_more_layers_than_one_page_of_options_names(home: Path) -> None:
    lowers = layers(home, 120)
    mounted = plan(home, lowers, options=["volatile"], flags=MS_NODEV)
    assert len(mounted.data()) > os.sysconf("SC_PAGE_SIZE")
    mount_overlay(mounted, home=str(home))
    assert len(os.listdir(home / "merged")) == 121
    (info,) = mounts_below(str(home / "merged"))
    assert "nodev" in info.options
    assert "volatile" in info.super_options


def test_more_layers_on_kernels_before_6_7(home: Path) -> None:
    lowers = layers(home, 100)
    before = os.getcwd()
    mounted = plan(home, lowers)
    assert len(mounted.data()) > os.sysconf("SC_PAGE_SIZE")
    overlay._mount_relative(mounted, str(home))
    assert len(os.listdir(home / "merged")) == 101
    assert os.getcwd() == before
    with pytest.raises(OSError, match="too many layers"):
        overlay._mount_relative(plan(home, lowers * 3), str(home))


def test_names_with_the_separators_in_them(home: Path) -> None:
    (lower,) = layers(home, 1, "a:b,c\\d")
    for name in ("up,per", "wo\\rk"):
        (home / name).mkdir()
    mount_overlay(plan(home, [lower], upper=str(home / "up,per"), work=str(home / "wo\\rk")), home=str(home))
    (home / "merged/x").write_text("")
    assert (home / "up,per/x").exists()
    assert (home / "merged/f0").exists()


def test_errors_name_the_target(home: Path) -> None:
    with pytest.raises(FileNotFoundError, match="merged"):
        mount_overlay(plan(home, [str(home / "missing")]), home=str(home))
    with pytest.raises(OSError, match="merged"):
        mount_overlay(plan(home, layers(home, 1) * 600), home=str(home))


def test_description() -> None:
    mounted = OverlayMount("/m", ["/a", "/b"], "/u", "/w", ["metacopy=on"], MS_RDONLY)
    assert mounted.data() == "lowerdir=/a:/b,upperdir=/u,workdir=/w,metacopy=on"
    assert OverlayMount("/m", ["/a"]).data() == "lowerdir=/a"
