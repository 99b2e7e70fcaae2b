"""Directories that are watched for changes, whether they exist now, later, or again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

import msgspec

from crio.linux.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Inotify,
)

log = logging.getLogger(__name__)

_MASK = (
    IN_ATTRIB
    | IN_CLOSE_WRITE
    | IN_CREATE
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_ONLYDIR
)
_ARM_ATTEMPTS = 10


class _Armed(msgspec.Struct):
    """Where the watch for one directory is: on itself, or on its nearest ancestor that exists."""

    watch: int
    path: str
    identity: tuple[int, int]


class DirectoryWatcher:
    """Calls `changed` in the event loop, once for a burst of events, when entries of one of `paths` change.

    A directory that does not exist is waited for through its nearest ancestor; one that is deleted, renamed or made
    again is followed by its name.
    """

    def __init__(self, paths: Sequence[str], changed: Callable[[], None], *, settle: float = 0.05) -> None:
        self._paths = [os.path.abspath(path) for path in paths]
        self._changed = changed
        self._settle = settle
        self._armed: dict[str, _Armed] = {}
        self._inotify: Inotify | None = None
        self._pending: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch; what changed before is the caller's to read after this."""
        self._inotify = Inotify()
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._readable)
        self._arm()

    def stop(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
            self._armed.clear()

    def _readable(self) -> None:
        assert self._inotify is not None
        events = self._inotify.read()
        ended = {event.watch for event in events if event.mask & IN_IGNORED}
        for path in [path for path, armed in self._armed.items() if armed.watch in ended]:
            del self._armed[path]
        own = {armed.watch for path, armed in self._armed.items() if armed.path == path}
        relevant = any(event.watch in own or event.mask & IN_Q_OVERFLOW for event in events)
        if self._arm() or relevant or ended:
            self._schedule()

    def _schedule(self) -> None:
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_later(self._settle, self._fire)

    def _fire(self) -> None:
        self._pending = None
        self._changed()

    def _arm(self) -> bool:
        """Put every watch where it belongs; whether one of the directories came, went or was replaced."""
        moved = False
        for path in self._paths:
            for _ in range(_ARM_ATTEMPTS):
                if not self._arm_one(path):
                    break
                moved = True
        return moved

    def _arm_one(self, path: str) -> bool:
        """One attempt; true if the watch was moved, and so has to be looked at again for what came meanwhile."""
        assert self._inotify is not None
        place = path
        while not os.path.isdir(place) and place != "/":
            place = os.path.dirname(place)
        try:
            state = os.stat(place)
            before = self._armed.get(path)
            if before is not None and (before.path, before.identity) == (place, (state.st_dev, state.st_ino)):
                return False
            watch = self._inotify.add(place, _MASK)
        except FileNotFoundError:
            return True
        except OSError as error:
            log.warning("cannot watch %s: %s; restart the daemon after a change there", place, error)
            return False
        self._armed[path] = _Armed(watch, place, (state.st_dev, state.st_ino))
        if before is not None and all(armed.watch != before.watch for armed in self._armed.values()):
            self._inotify.remove(before.watch)
        return True
