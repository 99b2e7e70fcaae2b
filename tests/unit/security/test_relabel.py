from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base.errors import Cancelled, InvalidArgument
from crio.linux import selinux
from crio.security.relabel import check_path, relabel

pytestmark = pytest.mark.root
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
OTHER = "system_u:object_r:container_file_t:s0:c3,c4"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    top = Path(f"/dev/shm/relabel-{os.getpid()}")
    for directory in ("a/b", "c"):
        (top / directory).mkdir(parents=True)
        for number in range(5):
            (top / directory / str(number)).touch()
    (top / "link").symlink_to(tmp_path)
    yield top
    for directory, _, files in os.walk(top, topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if os.path.islink(path):
                os.unlink(path)
        os.rmdir(directory)


def labels(top: Path) -> set[str]:
    found = {selinux.file_label(str(top))}
    for directory, directories, files in os.walk(top):
        found |= {selinux.file_label(os.path.join(directory, name), follow=False) for name in (*directories, *files)}
    return found


def test_whole_tree_and_only_what_needs_it(volume: Path, tmp_path: Path) -> None:
    before = selinux.file_label(str(tmp_path))
    assert relabel(str(volume), LABEL) == 15
    assert labels(volume) == {LABEL}
    assert selinux.file_label(str(tmp_path)) == before
    assert relabel(str(volume), LABEL) == 0
    selinux.set_file_label(str(volume / "c/3"), OTHER)
    assert relabel(str(volume), LABEL) == 1


def test_trusting_the_top(volume: Path) -> None:
    relabel(str(volume), LABEL)
    selinux.set_file_label(str(volume / "c/3"), OTHER)
    assert relabel(str(volume), LABEL, trust_top=True) == 0
    assert relabel(str(volume), OTHER, trust_top=True) == 14


def test_cancelled_run_is_resumed(volume: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        relabel(str(volume), LABEL, cancelled=stop)
    assert selinux.file_label(str(volume)) != LABEL
    relabel(str(volume), LABEL)
    assert labels(volume) == {LABEL}


def test_single_file(volume: Path) -> None:
    assert relabel(str(volume / "c/3"), LABEL) == 1
    assert selinux.file_label(str(volume / "c/3")) == LABEL


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/usr", "/usr/lib", "/var/lib/../lib", "/proc/self", "/sys/kernel", "/etc/passwd"]
)
def test_directories_of_the_host_are_refused(path: str) -> None:
    """CVE-2021-43816: a volume of the host's own files."""
    with pytest.raises(InvalidArgument, match="belongs to the host"):
        check_path(path)


def test_link_to_the_host_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(InvalidArgument):
        relabel(str(tmp_path / "link"), LABEL)
