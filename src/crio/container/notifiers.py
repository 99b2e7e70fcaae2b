"""The seccomp notifiers of containers that ask for one by annotation.

What a container's forbidden calls were is kept in its record when it is stopped for them; the counts of others end with
the daemon, and so does the watching: the kernel lets the calls fail by itself then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from crio.base.files import even_if_full
from crio.container.container import Container
from crio.security.seccomp_notifier import SeccompNotifier

log = logging.getLogger(__name__)

STOP = "stop"
"""The annotation's value that ends a container some seconds after its last forbidden call; others only count."""


class Notifiers:
    """`count` gets a container's name and the name of each forbidden call."""

    def __init__(self, count: Callable[[str, str], None]) -> None:
        self._count = count
        self._by_id: dict[str, SeccompNotifier] = {}
        self.stop: Callable[[Container], None] = lambda container: None
        """Ends a container soon; set by whoever can."""

    def start(self, container: Container, path: str, action: str) -> None:
        """Listen at `path`, before the runtime's create. Raises OSError."""
        notifier = SeccompNotifier(
            path,
            on_call=lambda name: self._count(container.name, name),
            on_quiet=lambda: self._quiet(container, action),
        )
        self._by_id[container.id] = notifier
        notifier.start()

    def close(self, container_id: str) -> None:
        """The container is gone; fine if it has no notifier."""
        notifier = self._by_id.pop(container_id, None)
        if notifier is not None:
            notifier.close()

    def close_all(self) -> None:
        for container_id in list(self._by_id):
            self.close(container_id)

    def _quiet(self, container: Container, action: str) -> None:
        notifier = self._by_id.get(container.id)
        if notifier is None:
            return
        log.info("container %s has made forbidden system calls: %s", container.short_id, notifier.summary())
        if action == STOP and not container.exited.is_set():
            container.record.forbidden_calls = notifier.summary()
            with even_if_full(f"a note of why container {container.short_id} is stopped"):
                container.save()
            self.stop(container)
