"""Counters, gauges, histograms and summaries with labels.

An observation costs about a microsecond and allocates nothing once its labels are known. Updates come from the event
loop's thread; one from another thread may at worst be lost, which a metric bears.
"""

from __future__ import annotations

import bisect
import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

MAX_SERIES = 2000
"""Label sets of one metric. Above it the one that was made first is dropped: names of containers come and go."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0)
"""Bucket limits for times, from a cached list to a pull."""

Labels = tuple[str, ...]


class Sample(msgspec.Struct, frozen=True):
    """One line of a metric: a suffix of its name, labels, and the value."""

    suffix: str
    labels: Sequence[tuple[str, str]]
    value: float


class Metric(Protocol):
    """What the writer asks of every kind of metric."""

    name: str
    kind: str
    text: str

    def samples(self) -> Iterator[Sample]:
        """The lines as they are now."""


class Counter:
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.text = text
        self._names = tuple(labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        if amount < 0:
            raise ValueError(f"{self.name} cannot be reduced")
        known = self._values.get(labels)
        if known is None:
            _make_room(self._values)
            known = 0.0
        self._values[labels] = known + amount

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[Sample]:
        for labels, value in list(self._values.items()):
            yield Sample("", tuple(zip(self._names, labels, strict=True)), value)


class Gauge:
    """A number that is set, or asked for when it is written."""

    kind = "gauge"

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), *, ask: Callable[[], float] | None = None
    ) -> None:
        self.name = name
        self.text = text
        self._names = tuple(labels)
        self._ask = ask
        self._values: dict[Labels, float] = {} if labels or ask else {(): 0.0}

    def set(self, value: float, *labels: str) -> None:
        if labels not in self._values:
            _make_room(self._values)
        self._values[labels] = value

    def only(self, value: float, *labels: str) -> None:
        """Set the value for these labels and forget all others."""
        self._values = {labels: value}

    def samples(self) -> Iterator[Sample]:
        if self._ask is not None:
            yield Sample("", (), self._ask())
        for labels, value in list(self._values.items()):
            yield Sample("", tuple(zip(self._names, labels, strict=True)), value)


class Histogram:
    """How often a value fell below each limit."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> None:
        self.name = name
        self.text = text
        self._names = tuple(labels)
        self._limits = tuple(buckets)
        self._counts: dict[Labels, array[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._counts[()] = array("Q", bytes(8 * (len(self._limits) + 1)))
            self._sums[()] = 0.0

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            _make_room(self._counts, self._sums)
            counts = self._counts[labels] = array("Q", bytes(8 * (len(self._limits) + 1)))
            self._sums[labels] = 0.0
        counts[bisect.bisect_left(self._limits, value)] += 1
        self._sums[labels] += value

    def count(self, *labels: str) -> int:
        return sum(self._counts.get(labels, ()))

    def samples(self) -> Iterator[Sample]:
        for labels, counts in list(self._counts.items()):
            pairs = tuple(zip(self._names, labels, strict=True))
            total = 0
            for limit, count in zip((*self._limits, math.inf), counts, strict=True):
                total += count
                yield Sample("_bucket", (*pairs, ("le", _limit(limit))), total)
            yield Sample("_sum", pairs, self._sums[labels])
            yield Sample("_count", pairs, total)


class Summary:
    """Quantiles of the last observations: those of ten minutes, at most 256."""

    kind = "summary"
    AGE = 600.0
    KEPT = 256

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        quantiles: Sequence[float] = (0.5, 0.9, 0.99),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.text = text
        self._names = tuple(labels)
        self._quantiles = tuple(quantiles)
        self._clock = clock
        self._series: dict[Labels, _Window] = {}

    def observe(self, value: float, *labels: str) -> None:
        window = self._series.get(labels)
        if window is None:
            _make_room(self._series)
            window = self._series[labels] = _Window()
        window.add(self._clock(), value)

    def samples(self) -> Iterator[Sample]:
        oldest = self._clock() - self.AGE
        for labels, window in list(self._series.items()):
            pairs = tuple(zip(self._names, labels, strict=True))
            values = sorted(value for when, value in zip(window.times, window.values, strict=True) if when >= oldest)
            for quantile in self._quantiles:
                value = values[min(int(quantile * len(values)), len(values) - 1)] if values else math.nan
                yield Sample("", (*pairs, ("quantile", f"{quantile:g}")), value)
            yield Sample("_sum", pairs, window.sum)
            yield Sample("_count", pairs, window.count)


class _Window:
    """The last observations, in a ring."""

    __slots__ = ("count", "sum", "times", "values")

    def __init__(self) -> None:
        self.times = array("d")
        self.values = array("d")
        self.count = 0
        self.sum = 0.0

    def add(self, when: float, value: float) -> None:
        if len(self.times) < Summary.KEPT:
            self.times.append(when)
            self.values.append(value)
        else:
            place = self.count % Summary.KEPT
            self.times[place] = when
            self.values[place] = value
        self.count += 1
        self.sum += value


def _make_room(*series: dict[Labels, float] | dict[Labels, array[int]] | dict[Labels, _Window]) -> None:
    for values in series:
        if len(values) >= MAX_SERIES:
            del values[next(iter(values))]


def _limit(value: float) -> str:
    return "+Inf" if value == math.inf else f"{value:g}"
