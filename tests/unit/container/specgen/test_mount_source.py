from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.mount_source import (
    MountSource,
    PropagationTable,
    nearest_existing,
    open_source,
    require_propagation,
)
from crio.linux import mount


def opened(path: Path | str, prefix: str = "") -> MountSource:
    source = open_source(str(path), prefix)
    assert source is not None
    return source


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with opened(tmp_path / "link") as source:
        assert source.path == str(tmp_path / "real")


def test_below_a_prefix_absolute_links_stay_there(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    with opened("/link", str(tmp_path)) as source:
        assert source.path == str(tmp_path / "etc")


def test_missing_and_impossible(tmp_path: Path) -> None:
    assert open_source(str(tmp_path / "none")) is None
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument):
        open_source(str(tmp_path / "file/below"))
    with nearest_existing(str(tmp_path / "a/b/c")) as source:
        assert source.path == str(tmp_path)


def test_files_without_a_path_keep_their_name() -> None:
    with opened("/proc/self/ns/net") as source:
        assert source.path == "/proc/self/ns/net"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "m"
    target.mkdir()
    mount.mount("tmpfs", str(target), "tmpfs")
    mount.make_private(str(target))
    yield target
    mount.umount(str(target), mount.MNT_DETACH)


@pytest.mark.root
def test_propagation(place: Path) -> None:
    below = place / "below"
    below.mkdir()
    with opened(below) as source:
        assert PropagationTable().of(source) == "private"
        for shared in (True, False):
            with pytest.raises(InvalidArgument, match="private mount"):
                require_propagation(source, PropagationTable(), shared=shared, path="/x")
        mount.make_rshared(str(place))
        require_propagation(source, PropagationTable(), shared=True, path="/x")
        require_propagation(source, PropagationTable(), shared=False, path="/x")


@pytest.mark.root
def test_a_slave_does_for_one_direction(place: Path, tmp_path: Path) -> None:
    mount.make_rshared(str(place))
    slave = tmp_path / "slave"
    slave.mkdir()
    mount.bind(str(place), str(slave))
    try:
        mount.set_propagation(str(slave), mount.MS_SLAVE)
        with opened(slave) as source:
            assert PropagationTable().of(source) == "slave"
            require_propagation(source, PropagationTable(), shared=False, path="/x")
            with pytest.raises(InvalidArgument, match="slave mount"):
                require_propagation(source, PropagationTable(), shared=True, path="/x")
    finally:
        mount.umount(str(slave), mount.MNT_DETACH)
