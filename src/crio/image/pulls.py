"""Pulls and loads under way: how far they are, how fast, who is told of it, and what the log says of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from crio.image.progress import LayerProgress, LayerState
from crio.image.worker.messages import Update

log = logging.getLogger(__name__)

RATE_SECONDS = 5.0
"""The time over which a rate is an average."""
_SAMPLE_SECONDS = 0.5
_LOG_SECONDS = 2.0
"""What is over sooner is told once, at its end; a line about a tenth comes no more often than this."""


class PullProgress(msgspec.Struct, frozen=True):
    """What changed in a pull since the caller was last told. `stage` is "" if that did not."""

    layers: Sequence[LayerProgress]
    stage: str


OnProgress = Callable[[PullProgress], None]


class PullStatus(msgspec.Struct):
    """One pull or load that is under way."""

    image: str
    namespace: str = ""
    stage: str = "resolve"
    started_at: int = msgspec.field(default_factory=time.time_ns)
    layers: dict[str, LayerProgress] = msgspec.field(default_factory=dict)
    waiters: int = 0
    progressed_at: float = msgspec.field(default_factory=time.monotonic)
    samples: deque[tuple[float, int]] = msgspec.field(default_factory=deque)
    """(monotonic time, received bytes) of the last seconds."""

    @property
    def bytes_done(self) -> int:
        return sum(layer.done for layer in self.layers.values())

    @property
    def bytes_total(self) -> int:
        return sum(layer.size for layer in self.layers.values())

    @property
    def bytes_received(self) -> int:
        """Without those that were here before."""
        return sum(layer.done for layer in self.layers.values() if layer.state is not LayerState.EXISTS)

    def sample(self, now: float) -> None:
        """Note how much was received by now."""
        samples = self.samples
        if not samples or now - samples[-1][0] >= _SAMPLE_SECONDS:
            samples.append((now, self.bytes_received))
            while now - samples[0][0] > RATE_SECONDS and len(samples) > 1:
                samples.popleft()

    def rate(self, now: float) -> float:
        """Bytes per second, over the last seconds."""
        if not self.samples:
            return 0.0
        since, received = self.samples[0]
        if now - self.samples[-1][0] > RATE_SECONDS or now <= since:
            return 0.0
        return (self.bytes_received - received) / (now - since)

    def describe(self) -> str:
        """`stage 'fetch', 12 of 40 MB at 3.1 MB/s, 2 of 5 layers`"""
        total = self.bytes_total
        amount = f"{self.bytes_done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{self.bytes_done / 1e6:.1f} MB"
        ended = sum(layer.state in (LayerState.DONE, LayerState.EXISTS) for layer in self.layers.values())
        return (
            f"stage {self.stage!r}, {amount} at {self.rate(time.monotonic()) / 1e6:.1f} MB/s, "
            f"{ended} of {len(self.layers)} layers"
        )


class PullUnderWay:
    """A pull and its observers."""

    def __init__(self, status: PullStatus) -> None:
        self.status = status
        self.observers: list[OnProgress] = []
        self._begun = time.monotonic()
        self._logged = self._begun
        self._tenth = 0

    def update(self, update: Update) -> None:
        """Take over what the worker says."""
        status, now = self.status, time.monotonic()
        status.progressed_at = now
        status.stage = update.stage or status.stage
        for layer in update.layers:
            status.layers[layer.digest] = layer
        status.sample(now)
        for observer in list(self.observers):
            observer(PullProgress(update.layers, update.stage))
        total = status.bytes_total
        tenth = 10 * status.bytes_done // total if total else 0
        if tenth > self._tenth and now - self._logged >= _LOG_SECONDS:
            self._tenth, self._logged = tenth, now
            log.info("pulling %s: %s", status.image, status.describe())

    def log_end(self) -> None:
        """Say what a successful pull has brought."""
        status, seconds = self.status, time.monotonic() - self._begun
        new = [layer for layer in status.layers.values() if layer.state is LayerState.DONE]
        received = sum(layer.size - layer.skipped for layer in new)
        log.info(
            "got %s in %.1f s: %.1f MB in %d new layers, %d were here%s",
            status.image,
            seconds,
            received / 1e6,
            len(new),
            len(status.layers) - len(new),
            f" for {status.namespace}" if status.namespace else "",
        )
