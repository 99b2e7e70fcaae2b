from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.linux.user_namespace import MAX_MAP_LINES, open_user_namespace

pytestmark = pytest.mark.root

MAP = [(0, 100000, 65536)]


def _children() -> set[str]:
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        # A thread that has been joined may be seen for a moment more.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def test_a_new_namespace_each_time_and_no_process_left() -> None:
    before = _children()
    fds = [open_user_namespace(MAP, MAP) for _ in range(3)]
    try:
        inodes = {os.fstat(fd).st_ino for fd in fds}
        assert len(inodes | {os.stat("/proc/self/ns/user").st_ino}) == 4
        assert not os.get_inheritable(fds[0])
    finally:
        for fd in fds:
            os.close(fd)
    assert _children() == before


def test_from_many_threads_at_once() -> None:
    fds: list[int] = []
    threads = [threading.Thread(target=lambda: fds.append(open_user_namespace(MAP, MAP))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({os.fstat(fd).st_ino for fd in fds}) == 8
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(
    "uids", [[(0, 100000, 65536), (5, 1, 2)], [], MAP * (MAX_MAP_LINES + 1), [(0, 1 << 32, 1)], [(0, -1, 5)]]
)
def test_maps_that_cannot_be(uids: list[tuple[int, int, int]]) -> None:
    before = _children()
    with pytest.raises(InvalidArgument, match="cannot map user ids"):
        open_user_namespace(uids, MAP)
    with pytest.raises(InvalidArgument, match="cannot map group ids"):
        open_user_namespace(MAP, uids)
    assert _children() == before
