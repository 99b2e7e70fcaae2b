from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.process import arguments, runs_systemd, working_directory


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "image", "expected"),
    [
        ([], [], ["e"], ["c"], ["e", "c"]),
        ([], ["a"], ["e"], ["c"], ["e", "a"]),
        (["x"], [], ["e"], ["c"], ["x"]),
        (["x"], ["a"], ["e"], ["c"], ["x", "a"]),
        ([], [], [], ["c", "d"], ["c", "d"]),
        ([], ["a"], [], [], ["a"]),
    ],
)
def test_command_over_entrypoint_and_args_over_cmd(
    command: list[str], args: list[str], entrypoint: list[str], image: list[str], expected: list[str]
) -> None:
    assert arguments(command, args, entrypoint, image) == expected


def test_nothing_to_run() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        arguments([], [], [], [])
    with pytest.raises(InvalidArgument, match="NUL"):
        arguments(["a\0b"], [], [], [])


def test_working_directory() -> None:
    assert working_directory("", "") == "/"
    assert working_directory("", "/image") == "/image"
    assert working_directory("/request", "/image") == "/request"
    assert working_directory("", "app") == "/app"


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/fd/7",
        "/proc/1/fd/7/../..",
        "/a/../proc/1/fd/3/../../x",
        "/x/../proc/self/fd/8/",
        "/dev/fd/9",
        "//proc/self/cwd",
        "/proc/thread-self/root",
    ],
)
def test_descriptors_are_no_working_directory(path: str) -> None:
    """CVE-2024-21626."""
    with pytest.raises(InvalidArgument, match="descriptor"):
        working_directory("", path)


@pytest.mark.parametrize("path", ["/proc/sys", "/dev/fdx", "/process/self/fd"])
def test_like_descriptors(path: str) -> None:
    assert working_directory(path, "") == path


def test_systemd() -> None:
    assert runs_systemd("/sbin/init")
    assert runs_systemd("/usr/lib/systemd/systemd")
    assert not runs_systemd("/usr/bin/systemd-run")
