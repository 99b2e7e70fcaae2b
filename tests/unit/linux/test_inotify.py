from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.linux.inotify import IN_CLOSE_WRITE, IN_CREATE, IN_DELETE_SELF, IN_IGNORED, Event, Inotify


def test_events_name_watch_and_entry(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    inotify = Inotify()
    try:
        assert inotify.read() == []
        first = inotify.add(str(one), IN_CREATE | IN_CLOSE_WRITE | IN_DELETE_SELF)
        second = inotify.add(str(two), IN_CREATE)
        assert not os.get_inheritable(inotify.fileno())
        (one / "a name with spaces é").write_text("x")
        (two / "b").mkdir()
        events = inotify.read()
        assert events[:2] == [
            Event(first, IN_CREATE, "a name with spaces é"),
            Event(first, IN_CLOSE_WRITE, "a name with spaces é"),
        ]
        assert (events[2].watch, events[2].name) == (second, "b")
        inotify.remove(second)
        inotify.remove(second)
        assert inotify.read() == [Event(second, IN_IGNORED, "")]
        os.unlink(one / "a name with spaces é")
        one.rmdir()
        assert [event.mask for event in inotify.read()] == [IN_DELETE_SELF, IN_IGNORED]
        with pytest.raises(FileNotFoundError):
            inotify.add(str(one), IN_CREATE)
    finally:
        inotify.close()
        inotify.close()
