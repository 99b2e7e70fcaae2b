"""What could not be removed yet, and is tried again until it can."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Unfinished(Generic[T]):
    """Things whose removal failed. The owner calls `retry` now and then."""

    def __init__(self, remove: Callable[[T], Awaitable[object]], name: Callable[[T], str]) -> None:
        """`remove` takes away what is left of a thing, and may be called again; `name` is what the log says of it."""
        self._remove = remove
        self._name = name
        self._left: list[T] = []

    def __bool__(self) -> bool:
        return bool(self._left)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._left))

    async def remove_or_keep(self, thing: T) -> bool:
        """Remove what is left of a thing, or keep it for `retry`. Whether nothing is left."""
        try:
            await self._remove(thing)
        except Exception as error:  # noqa: BLE001 - whoever undoes has an error of its own to tell
            log.warning("cannot remove what is left of %s, it will be tried again: %s", self._name(thing), error)
            self._left.append(thing)
            return False
        return True

    async def retry(self) -> None:
        """Try again to remove what is kept."""
        for thing in list(self._left):
            try:
                await self._remove(thing)
            except Exception as error:  # noqa: BLE001 - tried again next time
                log.warning("cannot remove what is left of %s: %s", self._name(thing), error)
            else:
                self._left.remove(thing)
