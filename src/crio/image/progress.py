"""How far a pull is: written by the threads that do it, read by whoever shows it."""

from __future__ import annotations

import enum
import threading

import msgspec

_MAX_MEDIA_TYPE = 128
"""Characters that are told of it: RFC 6838 has no longer ones, but an image may."""


class LayerState(enum.StrEnum):
    WAITING = "waiting"
    FETCHING = "fetching"
    DONE = "done"
    EXISTS = "exists"


class Stage(enum.StrEnum):
    RESOLVE = "resolve"
    FETCH = "fetch"
    COMMIT = "commit"


class LayerProgress(msgspec.Struct):
    """`size` is 0 while it is unknown; `done` counts received bytes, and those of the `skipped` that came before them:
    what was not fetched because the store has its files in other layers."""

    digest: str
    size: int
    done: int = 0
    state: LayerState = LayerState.WAITING
    media_type: str = ""
    skipped: int = 0


class Progress:
    """One pull's. Each method is a few instructions, so that it may be called for every piece of data."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._layers: dict[str, LayerProgress] = {}
        self._changed: set[str] = set()
        self._stage = Stage.RESOLVE
        self._sent_stage: Stage | None = None

    def enter(self, stage: Stage) -> None:
        self._stage = stage

    @property
    def stage(self) -> Stage:
        return self._stage

    def layer(self, digest: str, size: int, state: LayerState, media_type: str = "") -> None:
        """A layer is in this state. Its media type is told once."""
        with self._lock:
            known = self._layers.setdefault(digest, LayerProgress(digest, size))
            known.size = size or known.size
            known.media_type = media_type[:_MAX_MEDIA_TYPE] or known.media_type
            known.state = state
            if state in (LayerState.DONE, LayerState.EXISTS) and known.size:
                known.done = known.size
            self._changed.add(digest)

    def received(self, digest: str, total: int) -> None:
        """So many bytes of a layer have come."""
        with self._lock:
            self._layers[digest].done = total
            self._changed.add(digest)

    def skipped(self, digest: str, size: int) -> None:
        """So many bytes of a layer need not come."""
        with self._lock:
            self._layers[digest].skipped = size
            self._changed.add(digest)

    def take_changes(self) -> tuple[list[LayerProgress], str]:
        """Layers that changed since the last call (as they are now), and the stage, "" if that has not changed."""
        with self._lock:
            changes = [
                msgspec.structs.replace(self._layers[digest]) for digest in self._layers if digest in self._changed
            ]
            self._changed.clear()
            stage = "" if self._stage == self._sent_stage else str(self._stage)
            self._sent_stage = self._stage
            return changes, stage
