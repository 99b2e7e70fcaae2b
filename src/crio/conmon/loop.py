"""The monitor's event loop: epoll and a function per descriptor."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANG_UP = select.EPOLLHUP
PEER_DONE = select.EPOLLRDHUP


class Loop:
    """Calls the handler of each descriptor that is ready, with the epoll events that are. Level-triggered."""

    def __init__(self, epoll: select.epoll | None = None) -> None:
        self._epoll = epoll or select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def handle(self, fd: int, handler: Callable[[int], None]) -> None:
        """As `add`, for a descriptor that the epoll instance has already."""
        self._handlers[fd] = handler

    def register(self, fd: int, events: int) -> None:
        """Have the epoll instance watch a descriptor, for `handle`."""
        self._epoll.register(fd, events)

    def add(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.register(fd, events)
        self.handle(fd, handler)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Before the descriptor is closed. Its handler is not called any more, not even for events already seen."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def turn(self, timeout: float | None) -> bool:
        """Wait for events, at most `timeout` seconds (None: for ever), and handle them. False if none came."""
        events = self._epoll.poll(timeout)
        for fd, mask in events:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(mask)
        return bool(events)
