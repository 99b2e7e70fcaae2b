"""Spans: what the daemon did, when, and as part of what.

Every span is kept for a while in a ring of limited length, so that `crioctl trace` can draw what happened without a
collector. Those of traces that are sampled go to the exporter as well. Whether a trace is sampled is decided at its
first span: by the caller's `traceparent` header (W3C Trace Context, level 1) if it has one, else by chance.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from crio.base.regex import regex

KEPT = 2048
MAX_TEXT = 1024
"""Characters of an attribute or error text."""

_TRACEPARENT = regex(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 0x01


class SpanContext(msgspec.Struct, frozen=True):
    """What identifies a span across processes. Ids are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool


class Span:
    """One piece of work. `end_ns` is 0 while it runs; `error` is empty unless it failed."""

    __slots__ = ("attributes", "context", "end_ns", "error", "kept", "kind", "name", "parent_id", "start_ns")

    def __init__(
        self, name: str, context: SpanContext, parent_id: str, start_ns: int, kind: int, attributes: dict[str, str]
    ) -> None:
        self.name = name
        self.context = context
        self.parent_id = parent_id
        self.start_ns = start_ns
        self.end_ns = 0
        self.kind = kind
        self.attributes = attributes
        self.error = ""
        self.kept = True

    def set(self, **attributes: str) -> None:
        """Add attributes; long values are cut."""
        for name, value in attributes.items():
            self.attributes[name] = value[:MAX_TEXT]

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        return ((self.end_ns or time.time_ns()) - self.start_ns) / 1e9


INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans, with the numbers of OpenTelemetry."""

_current: contextvars.ContextVar[Span | None] = contextvars.ContextVar("current_span", default=None)


class Tracer:
    """Makes spans. `rate_per_million` is how many of a million traces without a caller's decision are sampled.

    `export` is called with each finished span of a sampled trace; it must not block.
    """

    def __init__(
        self,
        rate_per_million: int = 0,
        *,
        export: Callable[[Span], None] | None = None,
        kept: int = KEPT,
        chance: Callable[[], float] = lambda: random.random(),
    ) -> None:
        self.rate_per_million = rate_per_million
        self.export = export
        self._chance = chance
        self._ring: collections.deque[Span] = collections.deque(maxlen=kept)

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        *,
        kind: int = INTERNAL,
        caller: SpanContext | None = None,
        keep: bool = True,
        **attributes: str,
    ) -> Iterator[Span]:
        """Work that the block does; spans made within are its parts, also in tasks that are started within.

        `caller` is where a request came from. Without `keep`, neither it nor its parts are kept in the ring: what is
        asked every second would drive out what happened. An exception is noted in the span and goes on.
        """
        span = self._start(name, kind, caller, attributes)
        span.kept = span.kept and keep
        token = _current.set(span)
        try:
            yield span
        except BaseException as error:
            span.error = (str(error) or type(error).__name__)[:MAX_TEXT]
            raise
        finally:
            _current.reset(token)
            self._end(span, time.time_ns())

    def record(self, name: str, seconds: float, *, kind: int = INTERNAL, error: str = "", **attributes: str) -> Span:
        """Work that ended just now and took so long, as a part of the current span."""
        span = self._start(name, kind, None, attributes)
        end = time.time_ns()
        span.start_ns = end - int(seconds * 1e9)
        span.error = error[:MAX_TEXT]
        self._end(span, end)
        return span

    def spans(self) -> list[Span]:
        """The finished spans that are still kept, in the order of their ends."""
        return list(self._ring)

    def traces_with(self, text: str, attributes: Iterable[str] = ()) -> list[list[Span]]:
        """All kept spans of each trace in which some span has `text` as the value of an attribute, oldest trace first.

        `attributes` limits the ones that are looked at. A value matches with its beginning, as ids do.
        """
        names = frozenset(attributes)
        wanted: dict[str, list[Span]] = {}
        for span in self._ring:
            for name, value in span.attributes.items():
                if (not names or name in names) and value.startswith(text):
                    wanted.setdefault(span.context.trace_id, [])
        for span in self._ring:
            if span.context.trace_id in wanted:
                wanted[span.context.trace_id].append(span)
        found = [sorted(spans, key=lambda span: span.start_ns) for spans in wanted.values()]
        return sorted(found, key=lambda spans: spans[0].start_ns)

    def _start(self, name: str, kind: int, caller: SpanContext | None, attributes: Mapping[str, str]) -> Span:
        parent = _current.get()
        origin = caller or (parent.context if parent is not None else None)
        if origin is None:
            sampled = self.rate_per_million > 0 and self._chance() * 1_000_000 < self.rate_per_million
            context = SpanContext(os.urandom(16).hex(), os.urandom(8).hex(), sampled)
        else:
            context = SpanContext(origin.trace_id, os.urandom(8).hex(), origin.sampled)
        span = Span(name, context, origin.span_id if origin else "", time.time_ns(), kind, {})
        span.kept = parent is None or parent.kept
        span.set(**attributes)
        return span

    def _end(self, span: Span, end_ns: int) -> None:
        span.end_ns = end_ns
        if span.kept:
            self._ring.append(span)
        if span.context.sampled and self.export is not None:
            self.export(span)


def current() -> Span | None:
    """The span that the current task works for."""
    return _current.get()


def parse_traceparent(header: str) -> SpanContext | None:
    """The caller's span from a `traceparent` header; None if there is none or it is not valid."""
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags = match.groups()
    if version == "ff" or (version == "00" and len(header.strip()) != 55):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return SpanContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
